//! The access probe.

use std::collections::{BTreeMap, BTreeSet};

use weir::domain::secret::Secret;
use weir::kafka::KafkaProbe;
use weir::ports::{
    AccessProbe, AclFilter, KafkaAdmin, KafkaEndpoint, KafkaTls, ProbeOutcome, ScramChange, ScramMechanism,
};

use crate::kafka_lab::{admin, all, eventually, file, lab, may_read, topic, unique};

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn the_probe_tells_denied_allowed_and_refused_apart_on_every_broker() {
    let admin = admin().await;
    let (user, name, absent) = (unique("probe"), unique("probed"), unique("absent"));
    let (mechanism, password) = (ScramMechanism::Sha512, Secret::new("probe-password"));
    let set = ScramChange::Upsert { user: user.clone(), mechanism, iterations: 4096, password };
    all(admin.alter_scram(&[set]).await.unwrap());
    all(admin.create_topics(&[topic(&name, 1)], false).await.unwrap());
    let brokers: BTreeSet<i32> = admin.describe_cluster().await.unwrap().brokers.iter().map(|b| b.id).collect();
    let endpoint = lab().as_user(&user, "probe-password");

    let becomes = async |topic: &str, outcome: ProbeOutcome| {
        eventually(&format!("{topic} is {outcome:?} everywhere"), || async {
            let found = KafkaProbe.probe_fetch(&endpoint, &[topic.to_owned()], None).await.ok()?;
            let all_so = found.values().all(|o| *o == outcome);
            let everywhere = outcome == ProbeOutcome::LoginRefused || found.keys().copied().eq(brokers.iter().copied());
            (all_so && everywhere).then_some(())
        })
        .await;
    };
    becomes(&name, ProbeOutcome::Denied).await;
    becomes(&absent, ProbeOutcome::Denied).await;
    all(admin.create_acls(&[may_read(&user, &name), may_read(&user, &absent)]).await.unwrap());
    becomes(&name, ProbeOutcome::Allowed).await;
    becomes(&absent, ProbeOutcome::Allowed).await;
    all(admin.delete_acls(&[AclFilter::Principal(format!("User:{user}"))]).await.unwrap());
    becomes(&name, ProbeOutcome::Denied).await;
    all(admin.alter_scram(&[ScramChange::Delete { user: user.clone(), mechanism }]).await.unwrap());
    becomes(&name, ProbeOutcome::LoginRefused).await;
    all(admin.delete_topics(&[name]).await.unwrap());
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn certificates_that_the_brokers_do_not_trust_are_refused_logins() {
    let lab = lab();
    let own = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap();
    let stranger = (own.cert.pem(), Secret::new(own.signing_key.serialize_pem()));
    for client in [None, Some(stranger)] {
        let tls = Some(KafkaTls { ca_pem: Some(file(&lab.mtls.ca)), client });
        let endpoint = KafkaEndpoint { bootstrap_servers: lab.mtls.bootstrap.clone(), tls, sasl: None };
        let found = KafkaProbe.probe_fetch(&endpoint, &["any".to_owned()], None).await.unwrap();
        assert_eq!(found, BTreeMap::from([(ProbeOutcome::ANY_BROKER, ProbeOutcome::LoginRefused)]));
    }
}
