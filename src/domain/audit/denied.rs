//! Closed windows as events: whose topic it was, whose client, and what to make of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;

use super::bursts::Burst;
use super::heard::Refused;
use super::windows::{Closed, What};
use crate::api::{Action, ActorType, ClientRequest, EventSource, EventWindow, ObjectRef, Outcome};
use crate::domain::canary;
use crate::domain::event::{Happening, micros};
use crate::domain::index::Index;
use crate::domain::names::{ObjectKey, PrincipalKey, client_of, has_issued_form, service_account_of};

/// Whether a principal is one that Weir has denied itself: the canary.
pub fn is_canary(principal: Option<&str>) -> bool {
    principal.is_some_and(|p| p == canary::USER || p == canary::DISTINGUISHED_NAME)
}

/// The event of a closed window, and the key that tells it from all others.
pub fn happening(index: &Index, closed: &Closed) -> (Happening, String) {
    let kind = &closed.kind;
    let principal = kind.principal.as_deref();
    let action = action(index, closed);
    let owner = match &kind.what {
        What::This(Refused::Access { resource_type, resource_name, .. }) if resource_type == "Topic" => {
            index.topic_owner(&kind.cluster, resource_name).cloned()
        }
        _ => None,
    };
    let home = principal.and_then(|p| home(index, p, is_login(closed).then_some(&kind.cluster)));
    let object = object(index, closed, owner.as_ref());
    let client = request(closed);
    let message = message(closed, &client);
    let concerned = home.iter().map(|(key, _)| key.namespace.clone());
    let concerned: Vec<_> = concerned.filter(|ns| Some(ns) != object.namespace.as_ref()).collect();
    let mut happening = Happening::new(action, object, reason(closed), message)
        .by(ActorType::Principal, principal.unwrap_or("unknown"))
        .ended(Outcome::Failure)
        .of(principal.iter().map(|p| (*p).to_owned()).collect())
        .concerning(concerned);
    happening.correlation = home.and_then(|(_, uid)| uid).or(happening.correlation);
    happening.source = closed.source;
    happening.cluster = (!is_of_endpoint(closed)).then(|| kind.cluster.clone());
    happening.client = Some(client);
    happening.count = i64::try_from(closed.count).unwrap_or(i64::MAX);
    let window = |at| MicroTime(micros(at));
    happening.window = Some(EventWindow { start: window(closed.first), end: window(closed.last) });
    let key = format!("{kind:?}/{}", closed.opened);
    (happening, key)
}

/// Who was refused a request had logged in: its name is its own. Who failed to log in tells any name: it is that of a retired
/// credential only where Weir once issued it, as far as it still knows.
fn action(index: &Index, closed: &Closed) -> Action {
    let is_login = is_login(closed);
    let is_retired = |p: &str| {
        has_issued_form(p) && !index.is_issued_and_live(p) && (!is_login || index.was_issued(&closed.kind.cluster, p))
    };
    match (closed.kind.principal.as_deref().is_some_and(is_retired), is_login) {
        (true, _) => Action::RetiredCredentialUsed,
        (false, true) => Action::AuthenticationFailed,
        (false, false) => Action::AccessDenied,
    }
}

fn is_login(closed: &Closed) -> bool {
    match &closed.kind.what {
        What::This(what) => what.is_login(),
        What::Requests => false,
        What::Logins => true,
    }
}

/// Whether an endpoint of Weir's turned somebody away: its name stands in the place of the cluster's.
fn is_of_endpoint(closed: &Closed) -> bool {
    closed.source == EventSource::Endpoint
}

/// The event of a burst, and the key that tells it from all others.
pub fn burst(index: &Index, burst: &Burst) -> (Happening, String) {
    let Burst { cluster, principal, is_login, count, different, address, since, source } = burst;
    let home = home(index, principal, is_login.then_some(cluster));
    let object = match &home {
        Some((key, uid)) => ObjectRef {
            kind: if service_account_of(principal).is_some() { "ServiceAccount" } else { "StreamClient" }.into(),
            namespace: Some(key.namespace.clone()),
            name: key.name.clone(),
            uid: uid.clone(),
        },
        None => ObjectRef { kind: "StreamCluster".into(), namespace: None, name: cluster.clone(), uid: None },
    };
    let from = address.as_ref().map(|a| format!(", the last time from {a}")).unwrap_or_default();
    let message = if *is_login {
        format!("somebody tried to log in as {principal} {count} times within a minute, in vain{from}")
    } else {
        format!("{principal} was refused {count} times within a minute, {different} different things{from}")
    };
    let mut happening = Happening::new(Action::DenialBurst, object, "TooManyRefusals", message)
        .by(ActorType::Principal, principal)
        .ended(Outcome::Failure)
        .on(cluster)
        .of(vec![principal.clone()]);
    happening.count = i64::try_from(*count).unwrap_or(i64::MAX);
    happening.source = *source;
    happening.client = Some(ClientRequest { address: address.clone(), ..ClientRequest::default() });
    (happening, format!("{principal}/{is_login}/{since}"))
}

/// The StreamClient or ServiceAccount of a principal, with its UID as far as it is known. Who failed to log in to cluster `claimed_at`
/// tells any name, and is somebody's only where that was given to somebody there.
fn home(index: &Index, principal: &str, claimed_at: Option<&String>) -> Option<(ObjectKey, Option<String>)> {
    let is_theirs = |cluster: &String| match client_of(principal) {
        Some(_) => index.was_issued(cluster, principal),
        None => {
            let key = PrincipalKey { cluster: cluster.clone(), principal: principal.to_owned() };
            !index.desired(&key).grants.is_empty()
        }
    };
    let (key, uid) = index.home_of(principal)?;
    claimed_at.is_none_or(is_theirs).then(|| (key, uid.map(str::to_owned)))
}

/// The product whose topic it was; else the resource itself.
fn object(index: &Index, closed: &Closed, owner: Option<&ObjectKey>) -> ObjectRef {
    if let Some(key) = owner {
        let uid = index.product(key).and_then(ResourceExt::uid);
        return ObjectRef {
            kind: "DataProduct".into(),
            namespace: Some(key.namespace.clone()),
            name: key.name.clone(),
            uid,
        };
    }
    let (kind, name) = match &closed.kind.what {
        What::This(Refused::Access { resource_type, resource_name, .. }) => {
            (resource_type.clone(), resource_name.clone())
        }
        _ if is_of_endpoint(closed) => ("Service".into(), closed.kind.cluster.clone()),
        _ => ("StreamCluster".into(), closed.kind.cluster.clone()),
    };
    ObjectRef { kind, namespace: None, name, uid: None }
}

fn request(closed: &Closed) -> ClientRequest {
    let address = closed.addresses.first().cloned();
    match &closed.kind.what {
        What::This(Refused::Access { operation, resource_type, resource_name, api }) => ClientRequest {
            operation: Some(operation.clone()),
            resource_type: Some(resource_type.clone()),
            resource_name: Some(resource_name.clone()),
            api: api.clone(),
            address,
        },
        _ => ClientRequest { address, ..ClientRequest::default() },
    }
}

fn reason(closed: &Closed) -> &'static str {
    match &closed.kind.what {
        What::This(Refused::Access { .. }) => "NotAuthorized",
        What::This(Refused::Login { .. }) => "NotAuthenticated",
        What::Requests | What::Logins => "TooManyDifferent",
    }
}

fn message(closed: &Closed, client: &ClientRequest) -> String {
    let who = closed.kind.principal.as_deref().unwrap_or("somebody");
    let others = closed.addresses.len().saturating_sub(1);
    let from = match (&client.address, others) {
        (None, _) => String::new(),
        (Some(address), 0) => format!(" from {address}"),
        (Some(address), n) => format!(" from {address} and {n} other addresses"),
    };
    match &closed.kind.what {
        What::This(Refused::Login { .. }) if is_of_endpoint(closed) => {
            let why = closed.why.as_deref().unwrap_or("nobody says why");
            format!("{} turned somebody away{from}: {why}", closed.kind.cluster)
        }
        What::This(Refused::Access { operation, resource_type, resource_name, .. }) => {
            format!("{who} was refused {operation} on {resource_type} {resource_name}{from}")
        }
        What::This(Refused::Login { .. }) => {
            let why = closed.why.as_deref().unwrap_or("the broker does not say why");
            format!("{who} could not log in{from}: {why}")
        }
        What::Logins => format!("so many different ones could not log in that these are counted together{from}"),
        What::Requests => format!("{who} was refused so many different things that these are counted together{from}"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::happening;
    use crate::api::{Action, EventSource};
    use crate::domain::audit::heard::{Refusal, Refused};
    use crate::domain::audit::windows::Windows;
    use crate::domain::event::Happening;
    use crate::domain::testing::{CLUSTER, World, client_record, principal_of};

    fn told(world: &World, principal: &str, what: Refused) -> (Action, String) {
        let happening = whole(world, principal, what);
        (happening.action, happening.message)
    }

    fn whole(world: &World, principal: &str, what: Refused) -> Happening {
        let mut windows = Windows::default();
        let (address, why) = (Some("192.0.2.7".to_owned()), Some("bad password".to_owned()));
        let refusal =
            Refusal { what, principal: Some(principal.into()), address, why, at: None, source: EventSource::BrokerLog };
        windows.take(CLUSTER, &refusal, Timestamp::UNIX_EPOCH);
        let closed = windows.close(Timestamp::UNIX_EPOCH + SignedDuration::from_mins(1));
        happening(&world.index, &closed[0]).0
    }

    #[test]
    fn a_login_with_a_name_that_was_made_up_is_no_retired_credential() {
        let mut world = World::payments();
        world.commit([client_record("fraud/scorer", &[(2, true), (3, false)])]);
        let login = |name: &str| told(&world, name, Refused::Login { mechanism: Some("PLAIN") }).0;
        // Of the first version only the number of the last one tells.
        for retired in [1, 2] {
            assert_eq!(login(&principal_of("fraud/scorer", retired)), Action::RetiredCredentialUsed, "{retired}");
        }
        assert_eq!(login(&principal_of("fraud/scorer", 3)), Action::AuthenticationFailed);
        for made_up in [principal_of("fraud/scorer", 4), principal_of("fraud/nobody", 1), "alice".to_owned()] {
            assert_eq!(login(&made_up), Action::AuthenticationFailed, "{made_up}");
        }
        let concerned = |name: &str| whole(&world, name, Refused::Login { mechanism: None }).concerns;
        assert_eq!(concerned(&principal_of("fraud/scorer", 2)), ["fraud"]);
        for made_up in [
            principal_of("fraud/scorer", 4),
            principal_of("fraud/nobody", 1),
            "system:serviceaccount:fraud:nobody".into(),
        ] {
            assert!(concerned(&made_up).is_empty(), "{made_up}: whoever fails to log in could write to any namespace");
        }
        // Who was refused a request had logged in.
        let request = |name: &str| {
            let (operation, resource_type, resource_name) = ("Read".into(), "Topic".into(), "t".into());
            told(&world, name, Refused::Access { operation, resource_type, resource_name, api: None }).0
        };
        assert_eq!(request(&principal_of("fraud/nobody", 1)), Action::RetiredCredentialUsed);
        let access = |name: &str| {
            let (operation, resource_type, resource_name) = ("Read".into(), "Topic".into(), "t".into());
            whole(&world, name, Refused::Access { operation, resource_type, resource_name, api: None }).concerns
        };
        assert_eq!(access("system:serviceaccount:fraud:anybody"), ["fraud"]);
        for made_up in ["system:serviceaccount:elsewhere:x", "system:serviceaccount:fraud/securityevents/e?:x"] {
            assert!(access(made_up).is_empty(), "{made_up}: there is no such namespace");
        }
        assert_eq!(request("alice"), Action::AccessDenied);
    }

    #[test]
    fn a_failed_login_tells_why() {
        let (_, message) = told(&World::payments(), "alice", Refused::Login { mechanism: None });
        assert_eq!(message, "alice could not log in from 192.0.2.7: bad password");
    }
}
