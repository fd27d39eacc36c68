//! The workers of an engine: Kafka Connect in distributed mode, which lets in only who has a certificate of the engine's own
//! authority, and reads copiers' credentials from files.

use super::connector::DIRECTORY;
use crate::domain::connection::java_trust;
use crate::domain::names::worker_prefix;
use crate::domain::secret::Secret;
use zeroize::Zeroizing;

/// The port of Kafka Connect's REST interface.
pub const REST_PORT: u16 = 8083;
/// Key and file of the workers' properties.
pub const PROPERTIES: &str = "worker.properties";
/// Key and file of the workers' certificate and key, and of the authority of everybody who may call them.
pub const REST_STORE: &str = "rest.p12";
/// Key and file with the password of that, as a property.
pub const REST_PASSWORD: &str = "rest-password.properties";
/// Key of the authority in it.
pub const REST_AUTHORITY: &str = "rest-ca.pem";

/// The properties of the workers with this UID, who log in as `login` says: properties of a Kafka client, but for the brokers'
/// authority.
pub fn properties(uid: &str, login: &Secret, ca_pem: Option<&str>) -> Secret {
    let login = login.expose().lines().filter(|line| !line.starts_with("ssl.truststore."));
    let login = Zeroizing::new(login.map(|line| format!("{line}\n")).collect::<String>());
    let login = login.as_str();
    let trust = java_trust(ca_pem).join("\n");
    let prefix = worker_prefix(uid);
    let store = format!("{DIRECTORY}/{REST_STORE}");
    let password = format!("${{file:{DIRECTORY}/{REST_PASSWORD}:password}}");
    Secret::new(format!(
        "{login}{trust}
group.id={prefix}workers
config.storage.topic={prefix}configs
offset.storage.topic={prefix}offsets
status.storage.topic={prefix}status
config.storage.replication.factor=-1
offset.storage.replication.factor=-1
status.storage.replication.factor=-1
offset.storage.partitions=5
status.storage.partitions=1
offset.flush.interval.ms=5000
key.converter=org.apache.kafka.connect.converters.ByteArrayConverter
value.converter=org.apache.kafka.connect.converters.ByteArrayConverter
topic.creation.enable=false
topic.tracking.enable=false
plugin.discovery=service_load
connector.client.config.override.policy=All
scheduled.rebalance.max.delay.ms=0
config.providers=file,env
config.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider
config.providers.file.param.allowed.paths={DIRECTORY}
config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider
config.providers.env.param.allowlist.pattern=POD_IP
listeners=https://0.0.0.0:{REST_PORT}
admin.listeners=
rest.advertised.listener=https
rest.advertised.host.name=${{env:POD_IP}}
rest.advertised.port={REST_PORT}
listeners.https.ssl.client.auth=required
listeners.https.ssl.keystore.type=PKCS12
listeners.https.ssl.keystore.location={store}
listeners.https.ssl.keystore.password={password}
listeners.https.ssl.key.password={password}
listeners.https.ssl.truststore.type=PKCS12
listeners.https.ssl.truststore.location={store}
listeners.https.ssl.truststore.password={password}
listeners.https.ssl.endpoint.identification.algorithm=
listeners.https.ssl.protocol=TLSv1.3
listeners.https.ssl.enabled.protocols=TLSv1.3
"
    ))
}
