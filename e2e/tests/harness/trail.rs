//! What must hold of the record at any time, whatever befell its writer.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use weir::api::{Action, EventSource, RoleBinding, SecurityEvent, UNRECORDED_LABEL};

use super::shell::{run, try_run};
use super::{Harness, SOON, Tenant, condition, until};

/// Every event on record since the topic was made, in OCSF.
pub async fn export() -> Vec<Value> {
    export_as("ocsf").await
}

/// The same in a format that is JSON.
pub async fn export_as(format: &str) -> Vec<Value> {
    let text = run("weir", &["audit", "export", "--format", format]).await;
    // What is not Weir's is said on the other stream.
    text.lines()
        .filter(|line| !line.starts_with("offset "))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// Whether `weir audit verify` with these arguments proves the topic; what it says.
pub async fn verify(arguments: &[&str]) -> (bool, String) {
    try_run("weir", &[&["audit", "verify"], arguments].concat(), "").await
}

impl Harness {
    /// Waits until it is told that an endpoint of Weir's turned callers away since then, at least so many times.
    pub async fn turned_away(&self, endpoint: &str, since: Timestamp, times: i64) {
        let own = self.own_namespace();
        until(SOON * 2, &[], &format!("{endpoint} turned somebody away {times} times"), || async {
            let all = own.security_events(Action::AuthenticationFailed).await;
            let of_it = |e: &&SecurityEvent| e.spec.object.name == endpoint && e.spec.time.0 >= since;
            let of_it: Vec<_> = all.iter().filter(of_it).map(|e| &e.spec).collect();
            for told in &of_it {
                assert_eq!((told.source, told.object.kind.as_str()), (EventSource::Endpoint, "Service"));
                assert!(told.client.as_ref().is_some_and(|client| client.address.is_some()), "{told:#?}");
            }
            let count: i64 = of_it.iter().map(|told| told.count).sum();
            if count >= times { Ok(()) } else { Err(format!("{count} times")) }
        })
        .await;
    }
}

/// The record has no gap and no fork, no event is in it twice, and everything that these namespaces are shown is in it, and the
/// beginning of all access that bindings there say to give, behind what says that it is about to be given, and its end where they are
/// gone.
pub async fn is_whole(h: &Harness, namespaces: &[&Tenant]) {
    let what = "everything that is shown is on record, once, and the chain is proven";
    let records = until(SOON * 2, &[], what, || async {
        let all = export().await;
        let uids: Vec<_> = all.iter().map(|e| e["metadata"]["uid"].as_str().unwrap().to_owned()).collect();
        let known: BTreeSet<_> = uids.iter().cloned().collect();
        assert_eq!(known.len(), uids.len(), "an event is on record twice");
        let told = || all.iter().map(|e| &e["unmapped"]["event"]);
        let of_bindings = || told().filter(|e| e["object"]["kind"] == "RoleBinding");
        let uids_of = |actions: &[&str]| -> BTreeSet<_> {
            let of_them =
                of_bindings().filter(|e| e["action"].as_str().is_some_and(|action| actions.contains(&action)));
            of_them.filter_map(|e| e["object"]["uid"].as_str()).collect()
        };
        let granted = uids_of(&["AccessGranted"]);
        let ended = uids_of(&["AccessRevoked", "AccessExpired", "AccessOrphaned"]);
        let mut announced = BTreeSet::new();
        for event in told() {
            let entries = event["entries"].as_array().into_iter().flatten().filter_map(Value::as_str);
            match event["action"].as_str() {
                Some("AccessWidening") => announced.extend(entries),
                Some("AccessGranted") => {
                    let before: Vec<_> = entries.filter(|entry| !announced.contains(entry)).collect();
                    assert!(before.is_empty(), "{before:?} was given before it was on record: {event:#}");
                }
                _ => {}
            }
        }
        let begin = all.first().map(|e| e["unmapped"]["event"]["time"].clone()).unwrap_or_default();
        for tenant in namespaces.iter().copied().chain([&h.own_namespace()]) {
            let bindings = tenant.all::<RoleBinding>().await;
            let there: BTreeSet<_> = bindings.iter().filter_map(|b| b["metadata"]["uid"].as_str()).collect();
            let of_it = of_bindings().filter(|e| e["object"]["namespace"] == tenant.name.as_str());
            let gone = of_it.filter_map(|e| e["object"]["uid"].as_str()).filter(|uid| !there.contains(uid));
            if let Some(uid) = gone.into_iter().find(|uid| granted.contains(uid) && !ended.contains(uid)) {
                return Err(format!("the end of RoleBinding {uid} in {} is not on record", tenant.name));
            }
            for binding in &bindings {
                let is_ready = condition(binding, "Ready").is_some_and(|c| c["status"] == "True");
                if is_ready && !binding["metadata"]["uid"].as_str().is_some_and(|uid| granted.contains(uid)) {
                    return Err(format!("not on record: {binding:#}"));
                }
            }
            for event in tenant.all::<SecurityEvent>().await {
                let (uid, time) = (&event["spec"]["uid"], &event["spec"]["time"]);
                let uid = uid.as_str().unwrap_or_default();
                // One from before this topic was made is on record elsewhere, if anywhere.
                if time.as_str() < begin.as_str() {
                    continue;
                }
                let waits = event["metadata"]["labels"].get(UNRECORDED_LABEL).is_some();
                if waits || !known.contains(uid) {
                    return Err(format!("{event:#}"));
                }
            }
        }
        let (proven, said) = verify(&[]).await;
        if proven { Ok(uids.len()) } else { Err(said) }
    })
    .await;
    eprintln!("the record is whole: {records} events");
}
