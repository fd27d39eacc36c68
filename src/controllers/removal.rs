//! How far the removal of what a deleted binding or share gave is, cluster by cluster.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::ResourceExt;

use super::applier::{ClusterHandle, Link};
use super::context::Context;
use crate::api::{ABANDON_ANNOTATION, Reason};
use crate::domain::conditions::Progress;

/// Clusters that may still have something of it.
pub struct Blocking {
    /// By name.
    pub waiting: BTreeMap<String, Removal>,
    /// One that is out of reach and given up by the platform.
    pub abandoned: Option<String>,
}

/// How far a cluster is with it.
pub enum Removal {
    /// It is under way.
    Working,
    /// It is done, but writes from before this leader may arrive until then.
    Late(Timestamp),
    /// The cluster is out of reach.
    Unreachable,
}

impl Blocking {
    /// What the status says, and whether it will be over by itself soon.
    pub fn progress(&self) -> (Progress, bool) {
        let clause = |(name, removal): (&String, &Removal)| match removal {
            Removal::Working => format!("not every broker of StreamCluster {name} was seen without it yet"),
            Removal::Late(until) => format!(
                "StreamCluster {name} may yet get writes sent before this instance of Weir took over; it is looked at again \
                 at {until:.0}"
            ),
            Removal::Unreachable => format!(
                "StreamCluster {name} is out of reach; if it is gone for good, the platform team can set the annotation {} on it",
                ABANDON_ANNOTATION
            ),
        };
        let clauses: Vec<_> = self.waiting.iter().map(clause).collect();
        let message = format!("its access is being removed: {}", clauses.join("; "));
        let working = self.waiting.values().all(|r| matches!(r, Removal::Working));
        (Progress::Reconciling(Reason::Deleting, message), working)
    }
}

/// Which of `clusters` may still have something of the bindings, or guests, with these UIDs.
pub fn blocking(context: &Context, clusters: BTreeSet<String>, uids: &[&str]) -> Blocking {
    let mut blocking = Blocking { waiting: BTreeMap::new(), abandoned: None };
    for name in clusters {
        let handle = context.world.handle(&name);
        if handle.as_ref().is_some_and(|h| is_free(context, &name, h, uids)) {
            continue;
        }
        let (governing, late) = handle.map_or((false, None), |h| {
            let state = h.state();
            let late = |uid: &&&str| state.recorded.get(**uid).is_some_and(|p| !p.is_disjoint(&state.late_principals));
            let kept = uids.iter().any(|uid| late(&uid));
            (state.link == Link::Governing, state.late_until.filter(|_| kept))
        });
        let given_up =
            context.world.index().cluster(&name).is_none_or(|c| c.annotations().contains_key(ABANDON_ANNOTATION));
        if given_up && !governing {
            blocking.abandoned = Some(name);
        } else {
            let removal = match late {
                _ if !governing => Removal::Unreachable,
                Some(until) => Removal::Late(until),
                None => Removal::Working,
            };
            blocking.waiting.insert(name, removal);
        }
    }
    blocking
}

/// Whether nothing of them is left: no access, and no credential.
fn is_free(context: &Context, cluster: &str, handle: &ClusterHandle, uids: &[&str]) -> bool {
    let has_credential = {
        let index = context.world.index();
        uids.iter().any(|uid| index.client_cluster(uid) == Some(cluster))
    };
    let state = handle.state();
    !has_credential && uids.iter().all(|uid| state.is_free_of(uid))
}
