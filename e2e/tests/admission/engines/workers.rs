//! An engine that Weir runs: how it runs, reads and writes.

use super::cluster;
use crate::cases::Action::Create;
use crate::cases::Expect::{Accepted, Refused};
use crate::cases::Persona::Platform;
use crate::cases::{Case, about};

/// Of `mirrorMaker2`.
pub fn cases() -> Vec<Case> {
    [workers(), consumers(), producers(), of_the_other_kind()].concat()
}

/// The engine of the cases, with this beside its image.
fn engine(more: &str) -> String {
    cluster(&format!("replicationEngines: [{{name: mm2, mirrorMaker2: {{image: 'kafka:4', {more}}}}}]"))
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

/// What is said of a Kafka Connect that is there already.
fn of_the_other_kind() -> Vec<Case> {
    about(
        "bounds of workers",
        [
            (
                "workers that are elsewhere",
                Platform,
                Create,
                engine("url: 'https://connect:8083'"),
                Refused("unknown field \"spec.replicationEngines[0].mirrorMaker2.url\""),
            ),
            (
                "workers with a Secret for who calls them",
                Platform,
                Create,
                engine("secretRef: {name: connect}"),
                Refused("unknown field \"spec.replicationEngines[0].mirrorMaker2.secretRef\""),
            ),
            (
                "workers with credentials elsewhere",
                Platform,
                Create,
                engine("credentials: {namespace: workers, secretName: copies, directory: /etc/copies}"),
                Refused("unknown field \"spec.replicationEngines[0].mirrorMaker2.credentials\""),
            ),
            (
                "what is tuned of workers in a place of its own",
                Platform,
                Create,
                engine("tuning: {tasksMax: 2}"),
                Refused("unknown field \"spec.replicationEngines[0].mirrorMaker2.tuning\""),
            ),
        ],
    )
}
