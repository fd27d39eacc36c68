//! Clusters that take copies: whose, and what carries them.

use crate::cases::Action::Create;
use crate::cases::Expect::{Accepted, Refused};
use crate::cases::Persona::Platform;
use crate::cases::{Case, about, object};

/// The rules of the definition, and the bounds that stand beside them.
pub fn rules() -> Vec<Case> {
    [destinations(), engines(), workers(), consumers(), producers()].concat()
}

fn cluster(spec: &str) -> String {
    let spec = format!(
        "spec: {{bootstrapServers: ['broker:9093'], adminCredentials: {{type: Plain, secretRef: {{name: admin}}}}, {spec}}}"
    );
    object("StreamCluster", "", "sample", &spec)
}

/// As many as `count`, each with a name of its own and the rest.
fn several(count: usize, rest: &str) -> String {
    (0..count).map(|i| format!("{{name: n{i}, {rest}}}")).collect::<Vec<_>>().join(", ")
}

const ALL: &str = "namespaceSelector: {}";
const IMAGE: &str = "mirrorMaker2: {image: 'kafka:4'}";

/// Who may copy here.
fn destinations() -> Vec<Case> {
    let quotas = "name at least one quota";
    let offering = |entries: &str| cluster(&format!("destinations: [{entries}]"));
    let limited = |limits: &str| offering(&format!("{{name: all, {ALL}, limits: {{{limits}}}}}"));
    [
        about(
            quotas,
            [
                (
                    "copies with limits",
                    Platform,
                    Create,
                    limited(
                        "partitions: 12, replicas: 3, configKeys: [retention.ms], quotas: {consumerByteRate: 1048576}",
                    ),
                    Accepted,
                ),
                ("copies with a limit on no quota", Platform, Create, limited("quotas: {}"), Refused(quotas)),
            ],
        ),
        about(
            "bounds of destinations",
            [
                ("copies from nowhere", Platform, Create, offering(""), Accepted),
                ("as many destinations as there may be", Platform, Create, offering(&several(64, ALL)), Accepted),
                (
                    "too many destinations",
                    Platform,
                    Create,
                    offering(&several(65, ALL)),
                    Refused("spec.destinations: Too many: 65: must have at most 64 items"),
                ),
                (
                    "two destinations of one name",
                    Platform,
                    Create,
                    offering(&format!("{{name: all, {ALL}}}, {{name: all, {ALL}}}")),
                    Refused("spec.destinations[1]: Duplicate value: {\"name\":\"all\"}"),
                ),
                (
                    "a destination that selects nothing",
                    Platform,
                    Create,
                    offering("{name: all}"),
                    Refused("spec.destinations[0].namespaceSelector: Required value"),
                ),
                (
                    "a destination that selects null",
                    Platform,
                    Create,
                    offering("{name: all, namespaceSelector: null}"),
                    Refused("spec.destinations[0].namespaceSelector"),
                ),
                (
                    "a destination without a name",
                    Platform,
                    Create,
                    offering(&format!("{{{ALL}}}")),
                    Refused("spec.destinations[0].name: Required value"),
                ),
                (
                    "a destination with an empty name",
                    Platform,
                    Create,
                    offering(&format!("{{name: '', {ALL}}}")),
                    Refused("spec.destinations[0].name in body should be at least 1 chars long"),
                ),
                (
                    "copies of no partition",
                    Platform,
                    Create,
                    limited("partitions: 0"),
                    Refused("spec.destinations[0].limits.partitions in body should be greater than or equal to 1"),
                ),
            ],
        ),
    ]
    .concat()
}

/// The engine of the cases, with this beside its image.
fn engine(more: &str) -> String {
    cluster(&format!("replicationEngines: [{{name: mm2, mirrorMaker2: {{image: 'kafka:4', {more}}}}}]"))
}

/// What carries copies here.
fn engines() -> Vec<Case> {
    let having = |entries: &str| cluster(&format!("replicationEngines: [{entries}]"));
    let named = |name: &str| having(&format!("{{name: '{name}', {IMAGE}}}"));
    let label = Refused("spec.replicationEngines[0].name in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'");
    about(
        "bounds of engines",
        [
            ("no engine", Platform, Create, having(""), Accepted),
            ("an engine with an image alone", Platform, Create, named("mm2"), Accepted),
            ("an engine with dashes in its name", Platform, Create, named("4-mm--2"), Accepted),
            ("an engine with capitals in its name", Platform, Create, named("MM2"), label),
            ("an engine with a dot in its name", Platform, Create, named("mm2.eu"), label),
            ("an engine with a slash in its name", Platform, Create, named("other/mm2"), label),
            ("an engine with a line more in its name", Platform, Create, named("mm2\\n").replace('\'', "\""), label),
            ("an engine that begins with a dash", Platform, Create, named("-mm2"), label),
            ("an engine that ends with a dash", Platform, Create, named("mm2-"), label),
            (
                "an engine with an empty name",
                Platform,
                Create,
                named(""),
                Refused("spec.replicationEngines[0].name in body should be at least 1 chars long"),
            ),
            ("an engine with a long name", Platform, Create, named(&"e".repeat(63)), Accepted),
            (
                "an engine with too long a name",
                Platform,
                Create,
                named(&"e".repeat(64)),
                Refused("spec.replicationEngines[0].name: Too long: may not be more than 63 bytes"),
            ),
            ("as many engines as there may be", Platform, Create, having(&several(16, IMAGE)), Accepted),
            (
                "too many engines",
                Platform,
                Create,
                having(&several(17, IMAGE)),
                Refused("spec.replicationEngines: Too many: 17: must have at most 16 items"),
            ),
            (
                "two engines of one name",
                Platform,
                Create,
                having(&format!("{{name: mm2, {IMAGE}}}, {{name: mm2, {IMAGE}}}")),
                Refused("spec.replicationEngines[1]: Duplicate value: {\"name\":\"mm2\"}"),
            ),
            (
                "an engine of no kind",
                Platform,
                Create,
                having("{name: mm2}"),
                Refused("spec.replicationEngines[0].mirrorMaker2: Required value"),
            ),
            (
                "an engine of another kind",
                Platform,
                Create,
                having(&format!("{{name: mm2, {IMAGE}, clusterLinking: {{}}}}")),
                Refused("unknown field \"spec.replicationEngines[0].clusterLinking\""),
            ),
        ],
    )
}

/// How it runs.
fn workers() -> Vec<Case> {
    let started = |words: usize| engine(&format!("command: [{}]", vec!["a"; words].join(", ")));
    let with = |resources: &str| engine(&format!("resources: {{{resources}}}"));
    let full = "imagePullPolicy: Never, command: [connect], replicas: 32, tasksMax: 256, \
                resources: {requests: {cpu: 1, memory: 512Mi}, limits: {memory: 1Gi}}";
    about(
        "bounds of workers",
        [
            ("the most of everything", Platform, Create, engine(full), Accepted),
            ("the least of everything", Platform, Create, engine("replicas: 1, tasksMax: 1, command: []"), Accepted),
            (
                "no image",
                Platform,
                Create,
                cluster("replicationEngines: [{name: mm2, mirrorMaker2: {}}]"),
                Refused("spec.replicationEngines[0].mirrorMaker2.image: Required value"),
            ),
            (
                "an image without a name",
                Platform,
                Create,
                engine("").replace("kafka:4", ""),
                Refused("spec.replicationEngines[0].mirrorMaker2.image in body should be at least 1 chars long"),
            ),
            (
                "an image that is pulled now and then",
                Platform,
                Create,
                engine("imagePullPolicy: Sometimes"),
                Refused("spec.replicationEngines[0].mirrorMaker2.imagePullPolicy: Unsupported value: \"Sometimes\""),
            ),
            ("a long command", Platform, Create, started(16), Accepted),
            (
                "too long a command",
                Platform,
                Create,
                started(17),
                Refused("spec.replicationEngines[0].mirrorMaker2.command: Too many: 17: must have at most 16 items"),
            ),
            (
                "no worker",
                Platform,
                Create,
                engine("replicas: 0"),
                Refused(
                    "spec.replicationEngines[0].mirrorMaker2.replicas in body should be greater than or equal to 1",
                ),
            ),
            (
                "too many workers",
                Platform,
                Create,
                engine("replicas: 33"),
                Refused("spec.replicationEngines[0].mirrorMaker2.replicas in body should be less than or equal to 32"),
            ),
            (
                "no task",
                Platform,
                Create,
                engine("tasksMax: 0"),
                Refused(
                    "spec.replicationEngines[0].mirrorMaker2.tasksMax in body should be greater than or equal to 1",
                ),
            ),
            (
                "too many tasks",
                Platform,
                Create,
                engine("tasksMax: 257"),
                Refused("spec.replicationEngines[0].mirrorMaker2.tasksMax in body should be less than or equal to 256"),
            ),
            (
                "a bound that is neither a number nor a string",
                Platform,
                Create,
                with("limits: {memory: true}"),
                Refused(
                    "spec.replicationEngines[0].mirrorMaker2.resources.limits.memory in body must be of type integer,string",
                ),
            ),
            (
                "resources that are claimed",
                Platform,
                Create,
                with("claims: [{name: gpu}]"),
                Refused("unknown field \"spec.replicationEngines[0].mirrorMaker2.resources.claims\""),
            ),
        ],
    )
}

/// How it reads.
fn consumers() -> Vec<Case> {
    let tuned = |properties: &str| engine(&format!("consumer: {{{properties}}}"));
    let all = "fetchMinBytes: 0, fetchMaxBytes: 0, fetchMaxWaitMs: 0, maxPartitionFetchBytes: 0, maxPollRecords: 1";
    about(
        "bounds of consumers",
        [
            ("the least of everything that is tuned of consumers", Platform, Create, tuned(all), Accepted),
            ("nothing of consumers", Platform, Create, tuned("fetchMinBytes: null"), Accepted),
            (
                "less than no byte",
                Platform,
                Create,
                tuned("fetchMinBytes: -1"),
                Refused("mirrorMaker2.consumer.fetchMinBytes in body should be greater than or equal to 0"),
            ),
            (
                "no record at once",
                Platform,
                Create,
                tuned("maxPollRecords: 0"),
                Refused("mirrorMaker2.consumer.maxPollRecords in body should be greater than or equal to 1"),
            ),
            (
                "bytes in words",
                Platform,
                Create,
                tuned("fetchMaxBytes: 1Mi"),
                Refused("mirrorMaker2.consumer.fetchMaxBytes in body must be of type integer"),
            ),
            (
                "more bytes than an i32 holds",
                Platform,
                Create,
                tuned("fetchMaxBytes: 2147483648"),
                Refused("mirrorMaker2.consumer.fetchMaxBytes"),
            ),
            (
                "consumers that read what was aborted",
                Platform,
                Create,
                tuned("isolationLevel: read_uncommitted"),
                Refused("unknown field \"spec.replicationEngines[0].mirrorMaker2.consumer.isolationLevel\""),
            ),
            (
                "a property of consumers in Kafka's spelling",
                Platform,
                Create,
                tuned("fetch.min.bytes: 1"),
                Refused("unknown field \"spec.replicationEngines[0].mirrorMaker2.consumer.fetch.min.bytes\""),
            ),
        ],
    )
}

/// How it writes.
fn producers() -> Vec<Case> {
    let tuned = |properties: &str| engine(&format!("producer: {{{properties}}}"));
    let compressed = |by: &str| tuned(&format!("compressionType: '{by}'"));
    let unknown = Refused("mirrorMaker2.producer.compressionType in body should match '^(none|gzip|snappy|lz4|zstd)$'");
    let all = "batchSize: 0, lingerMs: 0, bufferMemory: 0, maxRequestSize: 0, compressionType: none";
    about(
        "bounds of producers",
        [
            ("the least of everything that is tuned of producers", Platform, Create, tuned(all), Accepted),
            ("nothing of producers", Platform, Create, tuned("compressionType: null"), Accepted),
            ("copies compressed by gzip", Platform, Create, compressed("gzip"), Accepted),
            ("copies compressed by snappy", Platform, Create, compressed("snappy"), Accepted),
            ("copies compressed by lz4", Platform, Create, compressed("lz4"), Accepted),
            ("copies compressed by zstd", Platform, Create, compressed("zstd"), Accepted),
            ("copies compressed by what Kafka has not", Platform, Create, compressed("brotli"), unknown),
            ("copies compressed as the topic says", Platform, Create, compressed("producer"), unknown),
            ("copies compressed by half a word more", Platform, Create, compressed("gzip-9"), unknown),
            ("copies compressed by nothing", Platform, Create, compressed(""), unknown),
            (
                "a batch of less than nothing",
                Platform,
                Create,
                tuned("batchSize: -1"),
                Refused("mirrorMaker2.producer.batchSize in body should be greater than or equal to 0"),
            ),
            (
                "a wait of less than nothing",
                Platform,
                Create,
                tuned("lingerMs: -1"),
                Refused("mirrorMaker2.producer.lingerMs in body should be greater than or equal to 0"),
            ),
            (
                "more bytes in a batch than an i32 holds",
                Platform,
                Create,
                tuned("batchSize: 2147483648"),
                Refused("mirrorMaker2.producer.batchSize"),
            ),
            (
                "producers that write elsewhere",
                Platform,
                Create,
                tuned("bootstrapServers: 'evil:9092'"),
                Refused("unknown field \"spec.replicationEngines[0].mirrorMaker2.producer.bootstrapServers\""),
            ),
            (
                "producers that wait for nobody",
                Platform,
                Create,
                tuned("acks: '0'"),
                Refused("unknown field \"spec.replicationEngines[0].mirrorMaker2.producer.acks\""),
            ),
        ],
    )
}
