//! StreamRole: reports what it gives, and who refers to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::context::Context;
use super::reconcile::{PERIODICALLY, ReconcileError};
use super::refusals;
use crate::api::{EffectivePrivilege, Reason, StreamRole, StreamRoleStatus};
use crate::domain::approval::{self, requesters};
use crate::domain::conditions::{Progress, conditions, merge, progress};
use crate::domain::event::Happening;
use crate::domain::index::Index;
use crate::domain::names::ObjectKey;
use crate::domain::problem::Problem;
use crate::domain::product;
use crate::domain::role::{self, Closure};
use crate::k8s::objects::{object_ref, write_status};

/// How many privileges a status lists.
const MOST: usize = 200;

/// How many bindings, and how many requests.
const MOST_BINDINGS: usize = 100;

/// Reconciles one role: it is only a status.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn reconcile(role: Arc<StreamRole>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let (after, problems) = status(&context.world.index(), &role, Timestamp::now());
    if role.status.as_ref() != Some(&after) && role.metadata.deletion_timestamp.is_none() {
        announce(&context, &role, &problems).await;
        write_status(&context.client, role.as_ref(), &after).await?;
    }
    Ok(Action::requeue(PERIODICALLY))
}

/// Tells of what makes the role something else than it says.
async fn announce(context: &Context, role: &StreamRole, problems: &[Problem]) {
    let key = context.world.index().key_of(role);
    let before = role.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let happening = |action, reason: &str, message: &str| {
        Happening::new(action, object_ref("StreamRole", &key, role.uid()), reason, message).asked_by(requesters(role))
    };
    refusals::announce(context, role, problems, before, happening).await;
}

/// The status to write, and what is wrong.
fn status(index: &Index, role: &StreamRole, now: Timestamp) -> (StreamRoleStatus, Vec<Problem>) {
    let key = index.key_of(role);
    let (mut effective, problems) = effective(index, &key);
    let ready = Progress::Ready(format!("gives access to {} topics", effective.len()));
    effective.truncate(MOST);
    let before = role.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let generation = role.metadata.generation;
    let status = StreamRoleStatus {
        observed_generation: generation,
        conditions: merge(before, conditions(&progress(&problems, ready)), generation, now),
        effective_privileges: effective,
        requests: index
            .waiting_for(&key)
            .take(MOST_BINDINGS)
            .map(|(b, awaited)| approval::pending(b, awaited))
            .collect(),
        bindings: i64::try_from(index.bindings_of_role(&key).count()).ok(),
        bound_by: index.bindings_of_role(&key).take(MOST_BINDINGS).map(|b| approval::reference(b)).collect(),
    };
    (status, problems)
}

/// Topics that the role gives with all it inherits, and what is wrong with it.
fn effective(index: &Index, key: &ObjectKey) -> (Vec<EffectivePrivilege>, Vec<Problem>) {
    let Closure { roles, mut problems } = role::closure(index, key);
    let mut given: BTreeMap<(String, String), Vec<_>> = BTreeMap::new();
    for origin in &roles {
        let Some(role) = index.role(origin) else { continue };
        for privilege in &role.spec.privileges {
            let (products, missing) = role::products(index, origin, privilege);
            problems.extend(missing);
            for product in products {
                let view = product::view(index, product);
                let of = index.key_of(product);
                problems.extend(
                    view.problems
                        .iter()
                        .map(|p| Problem::waiting(Reason::ProductNotFound, format!("DataProduct {of}: {}", p.message))),
                );
                let wanted = |name: &String| privilege.streams.is_empty() || privilege.streams.contains(name);
                for stream in view.streams.iter().filter(|s| wanted(&s.name)) {
                    let access = given.entry((origin.to_string(), stream.topic.clone())).or_default();
                    access.extend(privilege.access.iter().copied());
                    access.sort();
                    access.dedup();
                }
            }
        }
    }
    problems.sort();
    problems.dedup();
    let list = given.into_iter().map(|((role, topic), access)| EffectivePrivilege { role, topic, access });
    (list.collect(), problems)
}
