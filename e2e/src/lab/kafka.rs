//! The lab's Kafka: the facts about it, how it comes up, and the command-line
//! tools.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::build::Built;
use super::command::{create_dir, read, run, succeeds, tail, write};
use super::facts::{Credential, Images, Kafka, Lab};
use super::images;
use super::kafka_cluster::{AUDIENCE, BrokerTls, KafkaCluster};
use super::kubernetes::{ISSUER, apply, kubectl};
use super::paths::Paths;
use super::pki::{self, pair};
use super::progress::wait_for;
use super::test_kafka;

/// The name that clients dial first.
pub const BOOTSTRAP: &str = "bootstrap.kafka.svc.cluster.local";
/// How long three brokers may take on a busy machine of two cores.
const READY_LIMIT: Duration = Duration::from_secs(240);

/// How often a broker may fail on the way: it does when its peers are slow.
const RESTARTS: u32 = 3;

/// How the command-line tools log.
pub const TOOLS_LOG4J: &str = include_str!("../../kafka/tools-log4j2.properties");

/// Kafka's command-line tools, with the class of each.
const TOOLS: [(&str, &str); 16] = [
    ("kafka-acls.sh", "org.apache.kafka.tools.AclCommand"),
    ("kafka-broker-api-versions.sh", "org.apache.kafka.tools.BrokerApiVersionsCommand"),
    ("kafka-cluster.sh", "org.apache.kafka.tools.ClusterTool"),
    ("kafka-configs.sh", "kafka.admin.ConfigCommand"),
    ("kafka-console-consumer.sh", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    ("kafka-console-producer.sh", "org.apache.kafka.tools.ConsoleProducer"),
    ("kafka-consumer-groups.sh", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
    ("kafka-delete-records.sh", "org.apache.kafka.tools.DeleteRecordsCommand"),
    ("kafka-features.sh", "org.apache.kafka.tools.FeatureCommand"),
    ("kafka-get-offsets.sh", "org.apache.kafka.tools.GetOffsetShell"),
    ("kafka-leader-election.sh", "org.apache.kafka.tools.LeaderElectionCommand"),
    ("kafka-metadata-quorum.sh", "org.apache.kafka.tools.MetadataQuorumCommand"),
    ("kafka-producer-perf-test.sh", "org.apache.kafka.tools.ProducerPerformance"),
    ("kafka-topics.sh", "org.apache.kafka.tools.TopicCommand"),
    ("kafka-transactions.sh", "org.apache.kafka.tools.TransactionsCommand"),
    ("connect-distributed.sh", "org.apache.kafka.connect.cli.ConnectDistributed"),
];

/// A launcher for each of the tools of the distribution in `home`. `KAFKA_OPTS`
/// adds options of the virtual machine.
pub fn tool_scripts(home: &str) -> Vec<(&'static str, String)> {
    let script = |class: &str| {
        format!(
            "#!/bin/sh\nexec {home}/runtime/bin/java -Xmx256m -XX:TieredStopAtLevel=1 \
             -XX:+UseSerialGC -cp '{home}/libs/*' \
             -Dlog4j2.configurationFile={home}/log4j2.properties $KAFKA_OPTS {class} \"$@\"\n"
        )
    };
    TOOLS.iter().map(|(name, class)| (*name, script(class))).collect()
}

/// Links the distribution into the state directory and puts the tools on PATH.
pub fn install_tools(paths: &Paths, built: &Built) -> Result<()> {
    let home = paths.state.join("kafka/home");
    create_dir(&home)?;
    for part in ["libs", "runtime"] {
        link(&built.kafka.join(part), &home.join(part))?;
    }
    write(&home.join("log4j2.properties"), TOOLS_LOG4J)?;
    for (name, script) in tool_scripts(&home.display().to_string()) {
        install_script(paths, name, &script)?;
    }
    Ok(())
}

/// Puts a kcat on PATH that uses the lab's librdkafka.
pub fn install_kcat(paths: &Paths, built: &Built) -> Result<()> {
    let script = format!("#!/bin/sh\nLD_LIBRARY_PATH='{}' exec /usr/bin/kcat \"$@\"\n", built.librdkafka.display());
    install_script(paths, "kcat", &script)
}

fn install_script(paths: &Paths, name: &str, script: &str) -> Result<()> {
    let file = paths.bin().join(name);
    write(&file, script)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("failed to make {} executable", file.display()))
}

/// Makes `link` point to `target`, whatever it was before.
pub fn link(target: &Path, link: &Path) -> Result<()> {
    if link.is_symlink() {
        std::fs::remove_file(link).with_context(|| format!("failed to remove {}", link.display()))?;
    }
    std::os::unix::fs::symlink(target, link).with_context(|| format!("failed to make {}", link.display()))
}

/// The facts of this lab: read if they are there, else made, with new secrets.
pub fn facts(paths: &Paths) -> Result<Lab> {
    if let Ok(lab) = Lab::read(&paths.state) {
        return Ok(lab);
    }
    let password = hex::encode(random::<16>()?);
    let credential = |username: &str| Credential { username: username.to_owned(), password: password.clone() };
    let bootstrap = |port: u16| format!("{BOOTSTRAP}:{port}");
    let clients_ca = pair(&paths.state, "clients-ca");
    let mtls_admin = pair(&paths.state, "mtls-admin");
    let lab = Lab {
        state: paths.state.clone(),
        kubeconfig: paths.kubeconfig(),
        kafka: Kafka {
            namespace: "kafka".to_owned(),
            cluster_id: URL_SAFE_NO_PAD.encode(random::<16>()?),
            scram: bootstrap(9092),
            oauth: bootstrap(9093),
            mtls: bootstrap(9094),
            ca: pair(&paths.state, "kafka-ca").cert,
            clients_ca: clients_ca.cert,
            clients_ca_key: clients_ca.key,
            admin: credential("admin"),
            plain_admin: credential("plain-admin"),
            mtls_admin_cert: mtls_admin.cert,
            mtls_admin_key: mtls_admin.key,
            oauth_issuer: ISSUER.to_owned(),
            oauth_audience: AUDIENCE.to_owned(),
            admin_properties: paths.state.join("kafka/admin.properties"),
        },
        images: Images {
            busybox: images::BUSYBOX.to_owned(),
            kafka: images::KAFKA.to_owned(),
            kcat: images::KCAT.to_owned(),
            weir: images::WEIR.to_owned(),
        },
    };
    write_properties(&lab)?;
    lab.write()?;
    Ok(lab)
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("failed to read /dev/urandom")?;
    Ok(bytes)
}

/// The token with which this lab's brokers post to Weir's intake. Made the first time.
pub fn intake_token(state: &Path) -> Result<String> {
    let file = state.join("kafka/intake-token");
    if !file.exists() {
        write(&file, hex::encode(random::<32>()?))?;
    }
    read(&file)
}

/// `admin.properties`, and the like for the other ways to be a super user.
fn write_properties(lab: &Lab) -> Result<()> {
    let kafka = &lab.kafka;
    let trust = format!("ssl.truststore.type=PEM\nssl.truststore.location={}\n", kafka.ca.display());
    let sasl = |mechanism: &str, module: &str, who: &Credential| {
        format!(
            "security.protocol=SASL_SSL\nsasl.mechanism={mechanism}\n\
             sasl.jaas.config=org.apache.kafka.common.security.{module} required \
             username=\"{}\" password=\"{}\";\n{trust}",
            who.username, who.password
        )
    };
    let scram = "scram.ScramLoginModule";
    let keystore = lab.state.join("kafka/mtls-admin.pem");
    write(&keystore, read(&kafka.mtls_admin_key)? + &read(&kafka.mtls_admin_cert)?)?;
    let mtls =
        format!("security.protocol=SSL\nssl.keystore.type=PEM\nssl.keystore.location={}\n{trust}", keystore.display());
    let files = [
        ("admin", sasl("SCRAM-SHA-512", scram, &kafka.admin)),
        ("admin-scram-256", sasl("SCRAM-SHA-256", scram, &kafka.admin)),
        ("admin-plain", sasl("PLAIN", "plain.PlainLoginModule", &kafka.plain_admin)),
        ("admin-mtls", mtls),
    ];
    for (name, text) in files {
        write(&lab.state.join(format!("kafka/{name}.properties")), text)?;
    }
    Ok(())
}

/// Gives the cluster the brokers, or what has changed of them. Called inside the lab.
pub fn deploy(paths: &Paths, lab: &Lab) -> Result<()> {
    let jwks = run(kubectl(paths).args(["get", "--raw", "/openid/v1/jwks"]))?;
    let cluster = KafkaCluster {
        namespace: lab.kafka.namespace.clone(),
        replicas: 3,
        id: lab.kafka.cluster_id.clone(),
        password: lab.kafka.admin.password.clone(),
        jwks: test_kafka::add_key(&jwks, &paths.state)?,
        properties: Vec::new(),
        intake_token: Some(intake_token(&paths.state)?),
    };
    create_dir(&paths.state.join("kafka/data"))?;
    let file = paths.state.join("config/kafka.yaml");
    write(&file, cluster.manifest(&tls(paths, &cluster)?)?)?;
    apply(paths, &file)
}

/// The brokers' certificate is made once.
fn tls(paths: &Paths, cluster: &KafkaCluster) -> Result<BrokerTls> {
    let files = pair(&paths.state, "kafka-broker");
    if !files.cert.exists() {
        let (cert, key) = pki::brokers(&paths.state, cluster.names())?;
        write(&files.key, key)?;
        write(&files.cert, cert)?;
    }
    BrokerTls::new(&paths.state, &read(&files.cert)?, &read(&files.key)?)
}

/// Whether all brokers are ready. Called inside the lab.
pub fn is_ready(paths: &Paths) -> bool {
    let path = "jsonpath={.status.readyReplicas}/{.spec.replicas}";
    run(kubectl(paths).args(["-n", "kafka", "get", "statefulset", "kafka", "-o", path])).is_ok_and(|text| text == "3/3")
}

/// How often the broker that has failed most was started again.
fn most_restarts(paths: &Paths) -> u32 {
    let path = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    run(kubectl(paths).args(["-n", "kafka", "get", "pods", "-o", path]))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|count| count.parse().ok())
        .max()
        .unwrap_or(0)
}

/// Waits until all brokers are ready. Called inside the lab.
pub fn wait_ready(paths: &Paths) -> Result<()> {
    let waited = wait_for("three ready brokers", READY_LIMIT, || {
        if most_restarts(paths) > RESTARTS {
            bail!("a broker fails again and again");
        }
        Ok(is_ready(paths))
    });
    if let Err(error) = waited {
        let pods = run(kubectl(paths).args(["-n", "kafka", "get", "pods", "-o", "wide"]));
        let log = run(kubectl(paths).args(["-n", "kafka", "logs", "kafka-0", "--tail=40"]));
        bail!(
            "{error}\n{}\n{}\nwhat to do: `e2e/lab exec -- kubectl -n kafka describe pods`, then `e2e/lab down`",
            pods.unwrap_or_default(),
            tail(&log.unwrap_or_default(), 4000),
        );
    }
    Ok(())
}

/// Waits until Kafka has answered its administrator. Called inside the lab.
pub fn wait_answer(paths: &Paths, lab: &Lab) -> Result<()> {
    wait_for("an answer of Kafka to its administrator", READY_LIMIT, || {
        Ok(succeeds(
            Command::new(paths.bin().join("kafka-topics.sh"))
                .args(["--bootstrap-server", &lab.kafka.scram, "--list", "--command-config"])
                .arg(&lab.kafka.admin_properties),
        ))
    })
}
