//! The lab does what it says: run by `e2e/lab exec -- cargo test -p weir-e2e
//! --test lab -- --ignored`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};
use weir_e2e::lab::Lab;

/// Runs a shell command; what it printed, and whether it exited with 0.
fn try_sh(script: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn sh(script: &str) -> String {
    let (ok, text) = try_sh(script);
    assert!(ok, "{script}\n{text}");
    text
}

/// Waits until what `script` prints holds `wanted`.
fn until(script: &str, wanted: &str) -> String {
    let start = Instant::now();
    loop {
        let (_, text) = try_sh(script);
        if text.contains(wanted) {
            return text;
        }
        let late = start.elapsed() > Duration::from_secs(90);
        assert!(!late, "{script}\nnever said {wanted:?}; last:\n{text}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// `kubectl exec` in a pod of the test.
fn in_pod(pod: &str, script: &str) -> String {
    format!("kubectl -n lab-test exec {pod} -- sh -c '{script}'")
}

/// A Kafka tool as the administrator.
fn admin(tool: &str, arguments: &str) -> String {
    format!("{tool} --bootstrap-server $KAFKA_BOOTSTRAP --command-config $KAFKA_ADMIN_PROPERTIES {arguments}")
}

fn start_pods(lab: &Lab) {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab");
    sh("kubectl delete namespace lab-test --ignore-not-found --wait --timeout=60s");
    sh("kubectl create namespace lab-test");
    sh(&format!(
        "kubectl -n lab-test create configmap clients --from-file={dir}/java.properties \
         --from-file=ca.pem={}",
        lab.kafka.ca.display()
    ));
    sh(&format!("kubectl apply -f {dir}/pods.yaml"));
    sh("kubectl -n lab-test wait --for=condition=Ready pods --all --timeout=60s");
}

#[test]
#[ignore = "needs the lab: e2e/lab exec -- cargo test -p weir-e2e --test lab -- --ignored"]
fn the_lab_does_what_it_says() {
    let lab = Lab::current().unwrap();
    sh(&admin("kafka-topics.sh", "--create --if-not-exists --topic lab-test --partitions 3"));
    start_pods(&lab);
    services_and_names_answer();
    logs_and_port_forward_work();
    a_token_is_a_credential(&lab);
    librdkafka_talks_to_the_brokers(&lab);
    a_certificate_is_a_credential(&lab);
    every_administrator_is_let_in(&lab);
    a_broker_comes_back_with_its_data();
    sh("kubectl delete namespace lab-test --wait=false");
}

fn services_and_names_answer() {
    for _ in 0..8 {
        let page = sh(&in_pod("kcat", "wget -q -O - http://web"));
        assert!(page.starts_with("web-"), "{page}");
    }
    sh(&in_pod("kcat", "nslookup bootstrap.kafka.svc.cluster.local"));
    // Nothing leads out of the lab.
    let (out, _) = try_sh(&in_pod("kcat", "wget -q -T 3 -O - http://192.0.2.1/"));
    assert!(!out, "an address outside the lab answered");
}

fn logs_and_port_forward_work() {
    assert!(sh("kubectl -n lab-test logs deployment/web").contains("serving"));
    let page = sh("kubectl -n lab-test port-forward service/web 18080:80 >/dev/null & forward=$!
        for i in 1 2 3 4 5 6 7 8 9 10; do
          busybox wget -q -O - http://127.0.0.1:18080 && break; sleep 0.3
        done
        kill $forward");
    assert!(page.contains("web-"), "{page}");
}

fn a_token_is_a_credential(lab: &Lab) {
    let principal = "User:system:serviceaccount:lab-test:reader";
    let arguments = format!("--allow-principal {principal} --operation Write --topic lab-test");
    try_sh(&admin("kafka-acls.sh", &format!("--remove --force {arguments}")));
    let produce = in_pod(
        "java",
        &format!(
            "echo hello | kafka-console-producer.sh --bootstrap-server {} \
             --command-config /config/java.properties --topic lab-test",
            lab.kafka.oauth
        ),
    );
    let refused = sh(&format!("{produce} 2>&1 || true"));
    assert!(refused.contains("TopicAuthorizationException"), "{refused}");
    let log = "for i in 0 1 2; do kubectl -n kafka logs kafka-$i; done";
    until(log, &format!("Principal = {principal} is Denied"));
    sh(&admin("kafka-acls.sh", &format!("--add {arguments}")));
    let allowed = sh(&produce);
    assert!(!allowed.contains("Exception"), "{allowed}");
}

fn librdkafka_talks_to_the_brokers(lab: &Lab) {
    let kafka = &lab.kafka;
    let consume = in_pod(
        "kcat",
        &format!(
            "kcat -b {} -X security.protocol=SASL_SSL -X ssl.ca.location=/config/ca.pem \
             -X sasl.mechanism=SCRAM-SHA-512 -X sasl.username={} -X sasl.password={} \
             -C -t lab-test -e -q",
            kafka.scram, kafka.admin.username, kafka.admin.password
        ),
    );
    until(&consume, "hello");
}

fn a_certificate_is_a_credential(lab: &Lab) {
    let kafka = &lab.kafka;
    let read = |path| std::fs::read_to_string(path).unwrap();
    let authority = KeyPair::from_pem(&read(&kafka.clients_ca_key)).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read(&kafka.clients_ca), authority).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "lab-test.client");
    let key = KeyPair::generate().unwrap();
    let dir = std::env::temp_dir().join("weir-lab-test");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("cert.pem"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    let produce = format!(
        "echo by certificate | kcat -b {} -X security.protocol=SSL -X ssl.ca.location={} \
         -X ssl.certificate.location={dir}/cert.pem -X ssl.key.location={dir}/key.pem \
         -P -t lab-test -X message.timeout.ms=5000",
        kafka.mtls,
        kafka.ca.display(),
        dir = dir.display(),
    );
    let principal = "User:CN=lab-test.client";
    let arguments = format!("--allow-principal {principal} --operation Write --topic lab-test");
    try_sh(&admin("kafka-acls.sh", &format!("--remove --force {arguments}")));
    let (refused, _) = try_sh(&produce);
    assert!(!refused, "a client without an ACL was let write");
    let log = "for i in 0 1 2; do kubectl -n kafka logs kafka-$i; done";
    until(log, &format!("Principal = {principal} is Denied"));
    sh(&admin("kafka-acls.sh", &format!("--add {arguments}")));
    sh(&produce);
    std::fs::remove_dir_all(&dir).unwrap();
}

fn every_administrator_is_let_in(lab: &Lab) {
    for (name, bootstrap) in
        [("admin-scram-256", &lab.kafka.scram), ("admin-plain", &lab.kafka.scram), ("admin-mtls", &lab.kafka.mtls)]
    {
        let topics = sh(&format!(
            "kafka-topics.sh --bootstrap-server {bootstrap} --list \
             --command-config $WEIR_LAB/kafka/{name}.properties"
        ));
        assert!(topics.contains("lab-test"), "{name}: {topics}");
    }
}

fn a_broker_comes_back_with_its_data() {
    let uid = "kubectl -n kafka get pod kafka-1 -o jsonpath={.metadata.uid}";
    let before = sh(uid);
    sh("kubectl -n kafka delete pod kafka-1 --grace-period=0 --force");
    let start = Instant::now();
    while sh(&format!("{uid} --ignore-not-found")) == before {
        assert!(start.elapsed() < Duration::from_secs(60), "kafka-1 was not replaced");
        std::thread::sleep(Duration::from_millis(250));
    }
    sh("kubectl -n kafka rollout status statefulset/kafka --timeout=90s");
    until(&format!("{} | grep -c 'Isr: .,.,.'", admin("kafka-topics.sh", "--describe --topic lab-test")), "3");
    let log = sh("kubectl -n kafka logs kafka-1");
    assert!(log.contains("Kafka Server started"), "{log}");
    assert!(!log.contains("Formatting"), "its data was gone: {log}");
}
