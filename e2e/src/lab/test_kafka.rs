//! Kafka as the integration tests of Weir's Kafka client are told of it: the
//! file that `WEIR_TEST_KAFKA` names (`tests/kafka_lab/mod.rs` says what is in
//! it), and the key with which they sign tokens of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::command::{read, run, write};
use super::facts::Lab;
use super::images::ctr;
use super::kafka::BOOTSTRAP;
use super::kubernetes::kubectl;
use super::paths::Paths;
use super::pki::{TEST_TOKENS, pair};

/// The super user whose tokens the tests sign.
pub const OAUTH_ADMIN: &str = "weir-oauth-admin";

/// Where the description is, in the state directory `state`.
pub fn file(state: &Path) -> PathBuf {
    state.join("kafka/test-kafka.json")
}

/// The key set `jwks` with the public half of the tests' own key.
pub fn add_key(jwks: &str, state: &Path) -> Result<String> {
    let key = KeyPair::from_pem(&read(&pair(state, TEST_TOKENS).key)?)?;
    let mut set: Value = serde_json::from_str(jwks).context("failed to parse the cluster's JWKS")?;
    let keys = set["keys"].as_array_mut().context("the cluster's JWKS has no keys")?;
    keys.push(jwk(key.public_key_raw())?);
    Ok(set.to_string())
}

/// A point on P-256, uncompressed (SEC 1, section 2.3.3), as a JWK (RFC 7518, section 6.2.1).
fn jwk(point: &[u8]) -> Result<Value> {
    let [4, coordinates @ ..] = point else { bail!("not an uncompressed point") };
    if coordinates.len() != 64 {
        bail!("not a point on P-256");
    }
    let (x, y) = coordinates.split_at(32);
    Ok(json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": TEST_TOKENS,
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    }))
}

/// Writes the description, with the brokers' process ids of now. Called inside
/// the lab, when all brokers are ready.
pub fn describe(paths: &Paths, lab: &Lab) -> Result<()> {
    let mut pid_files = BTreeMap::new();
    for (broker, pid) in broker_pids(paths)? {
        let file = lab.state.join(format!("kafka/pids/{broker}"));
        write(&file, format!("{pid}\n"))?;
        pid_files.insert(broker.to_string(), file);
    }
    let kafka = &lab.kafka;
    let listener = |bootstrap: &str| json!({"bootstrap": [bootstrap], "ca": kafka.ca});
    let with = |mut listener: Value, more: Value| {
        if let (Some(all), Value::Object(more)) = (listener.as_object_mut(), more) {
            all.extend(more);
        }
        listener
    };
    let admin = json!(kafka.admin);
    let description = json!({
        "scram512": with(listener(&kafka.scram), admin.clone()),
        "scram256": with(listener(&format!("{BOOTSTRAP}:9095")), admin),
        "plain": with(listener(&kafka.scram), json!(kafka.plain_admin)),
        "mtls": with(listener(&kafka.mtls), json!({
            "certificate": kafka.mtls_admin_cert,
            "key": kafka.mtls_admin_key,
        })),
        "oauth": with(listener(&kafka.oauth), json!({
            "signing_key": pair(&lab.state, TEST_TOKENS).key,
            "key_id": TEST_TOKENS,
            "issuer": kafka.oauth_issuer,
            "audience": kafka.oauth_audience,
            "subject": OAUTH_ADMIN,
        })),
        "broker_pids": pid_files,
        "classpath": lab.state.join("kafka/home/libs/*"),
    });
    write(&file(&lab.state), format!("{description:#}\n"))
}

/// The first process of each broker's container, which is its virtual machine.
fn broker_pids(paths: &Paths) -> Result<BTreeMap<u32, u32>> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID}{\"\\n\"}{end}";
    let pods = run(kubectl(paths).args(["-n", "kafka", "get", "pods", "-l", "app=kafka", "-o", path]))?;
    let tasks = run(ctr().args(["tasks", "ls"]))?;
    let pids = join(&pods, &tasks);
    if pids.len() != 3 {
        bail!("failed to find the process of each of three brokers in\n{pods}\nand\n{tasks}");
    }
    Ok(pids)
}

/// The process ids of brokers: `pods` has lines of a pod's name and its
/// container's id, `tasks` is what `ctr tasks ls` prints (id, process, status).
fn join(pods: &str, tasks: &str) -> BTreeMap<u32, u32> {
    let running = |id: &str| {
        tasks.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [task, pid, "RUNNING"] if task == id => pid.parse().ok(),
            _ => None,
        })
    };
    let broker = |line: &str| {
        let (name, id) = line.split_once(' ')?;
        let (_, broker) = name.rsplit_once('-')?;
        Some((broker.parse().ok()?, running(id.trim().strip_prefix("containerd://")?)?))
    };
    pods.lines().filter_map(broker).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{join, jwk};

    #[test]
    fn brokers_have_the_processes_of_their_own_containers() {
        let pods = "kafka-0 containerd://aa\nkafka-1 containerd://bb\nkafka-2 \n";
        let tasks = "TASK    PID     STATUS    \nbb  12    RUNNING\naa      345    RUNNING\ncc 6 STOPPED\n";
        assert_eq!(join(pods, tasks), BTreeMap::from([(0, 345), (1, 12)]));
        assert_eq!(join("kafka-2 containerd://cc", tasks), BTreeMap::new());
    }

    #[test]
    fn a_jwk_has_the_coordinates_of_its_point() {
        let point: Vec<u8> = std::iter::once(4).chain([0xff; 32]).chain([0; 32]).collect();
        let key = jwk(&point).unwrap_or_default();
        assert_eq!(key["x"], format!("{}8", "_".repeat(42)));
        assert_eq!(key["y"], "A".repeat(43));
        assert!(jwk(&point[..64]).is_err());
        assert!(jwk(&[2; 33]).is_err());
    }
}
