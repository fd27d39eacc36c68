//! Shippers that people run beside their brokers, run as they would be: what a broker refuses arrives by them.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use tokio::process::{Child, Command};
use weir::api::{Action, DataProduct, EventSource, SecurityEvent, StreamCluster};
use weir::ports::ProbeOutcome;

use crate::harness::manifests::{client, product_with};
use crate::harness::operator::Operator;
use crate::harness::other_kafka::OtherKafka;
use crate::harness::{Harness, SOON, Tenant, until};
use crate::intake::Poster;

/// An OpenTelemetry Collector on the node of a Kafka's broker, configured as the documentation says. It ends when this is dropped.
struct Collector {
    log: PathBuf,
    /// Where it keeps how far it is, and what it has not sent yet.
    places: PathBuf,
    command: Command,
    child: Child,
}

impl Collector {
    fn start(h: &Harness, kafka: &OtherKafka, token: &str) -> Self {
        let (state, name) = (h.lab.state.display(), &kafka.name);
        let log = h.lab.state.join("logs/otelcol.log");
        let places = h.lab.state.join(format!("otelcol-{name}"));
        let output = File::create(&log).unwrap();
        let mut command = Command::new("otelcol");
        command
            .args(["--config", concat!(env!("CARGO_MANIFEST_DIR"), "/kafka/otelcol.yaml")])
            .env("BROKER_LOGS", format!("{state}/pod-logs/{name}_kafka-*/kafka/*.log"))
            .env("PLACES", &places)
            .env("INTAKE_URL", Poster::url(name))
            .env("INTAKE_TOKEN", token)
            .env("INTAKE_CA", &h.lab.kafka.ca)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true);
        let child = command.spawn().unwrap_or_else(|e| panic!("failed to run otelcol: {e}"));
        Self { log, places, command, child }
    }

    /// Kills it, and runs it anew.
    async fn kill(&mut self) {
        self.child.kill().await.unwrap();
        self.child = self.command.spawn().unwrap();
    }

    /// What it has logged.
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// How often something was not taken, and is to be sent again.
    fn failures(&self) -> usize {
        self.log().matches("Will retry the request").count()
    }

    /// Ends it, and forgets how far it was.
    async fn end(mut self) {
        self.child.kill().await.unwrap();
        std::fs::remove_dir_all(&self.places).unwrap();
    }
}

/// What is told of a principal that was refused a topic.
async fn told(owner: &Tenant, principal: &str, topic: &str, collector: &Collector) -> Result<SecurityEvent, String> {
    let is_it = |e: &&SecurityEvent| {
        let resource = e.spec.client.as_ref().and_then(|c| c.resource_name.as_deref());
        e.spec.principals == [principal.to_owned()] && resource == Some(topic)
    };
    let all = owner.security_events(Action::AccessDenied).await;
    all.iter().find(is_it).cloned().ok_or_else(|| format!("{all:#?}\n--- collector\n{}", collector.log()))
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_an_opentelemetry_collector_ships_is_told_also_if_nobody_takes_it_at_first() {
    let h = Harness::start().await;
    let (platform, own) = (h.platform(), h.own_namespace());
    // Its broker ships nothing itself.
    let kafka = OtherKafka::start(&h, "shipped", &[]).await;
    let token = format!("token-of-{}", kafka.name);
    own.apply_value(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": kafka.name},
        "stringData": {"token": token}}))
        .await;
    let mut cluster = kafka.stream_cluster();
    cluster["spec"]["brokerLogs"] = json!({"tokenSecretRef": {"name": kafka.name}});
    platform.apply_value(cluster).await;
    platform.ready::<StreamCluster>(&kafka.name).await;
    let (owner, consumer) = (kafka.tenant(&h, "owner").await, kafka.tenant(&h, "consumer").await);
    let streams = "streams: [{name: placed, partitions: 1}, {name: refunded, partitions: 1}]";
    owner.apply(&kafka.here(&product_with("orders", streams))).await;
    owner.ready::<DataProduct>("orders").await;
    consumer.apply(&kafka.here(&client("app"))).await;
    let principal = consumer.principal("app").await;
    let login = consumer.login("app").await;
    let [placed, refunded] = ["placed", "refunded"].map(|stream| format!("{}.orders.{stream}", owner.name));
    let mut collector = Collector::start(&h, &kafka, &token);

    // It reads what is written from the moment on in which it finds the file.
    let event = until(SOON, &[&owner.name], "a refusal comes by the collector", || async {
        kafka.brokers.let_fetch(&login, &placed, ProbeOutcome::Denied).await;
        told(&owner, &principal, &placed, &collector).await
    })
    .await;
    let spec = event.spec;
    assert_eq!((spec.cluster.as_deref(), spec.source), (Some(kafka.name.as_str()), EventSource::BrokerLog));
    assert_eq!((spec.object.kind.as_str(), spec.object.name.as_str()), ("DataProduct", "orders"));
    let request = spec.client.unwrap();
    assert_eq!(request.operation.as_deref(), Some("Read"));
    assert!(request.address.is_some_and(|a| a.parse::<std::net::IpAddr>().is_ok()));

    // Weir is away, and the collector is killed meanwhile.
    let operator = Operator::of(&h);
    operator.scale(0).await;
    let before = collector.failures();
    kafka.brokers.let_fetch(&login, &refunded, ProbeOutcome::Denied).await;
    until(SOON, &[], "the collector finds nobody who takes it", || async {
        if collector.failures() > before { Ok(()) } else { Err(collector.log()) }
    })
    .await;
    collector.kill().await;
    operator.scale(2).await;
    operator.governing().await;
    until(SOON, &[&owner.name], "what was refused meanwhile comes, too", || {
        told(&owner, &principal, &refunded, &collector)
    })
    .await;
    let log = collector.log();
    assert!(!log.contains("Dropping data"), "{log}");
    collector.end().await;
    let secret = kafka.name.clone();
    kafka.end(&h, [consumer, owner]).await;
    own.delete::<Secret>(&secret).await;
}
