//! An engine that is there already: where it is, how Weir is known there, and how who copies is.

use super::{CALLER, FILES, URL, at, having};
use crate::cases::Action::Create;
use crate::cases::Expect::{Accepted, Refused};
use crate::cases::Persona::Platform;
use crate::cases::{Case, about};

/// Of `kafkaConnect`.
pub fn cases() -> Vec<Case> {
    [urls(), callers(), credentials(), directories(), providers(), tuning(), of_the_other_kind()].concat()
}

/// That of the cases, with this beside what it has to say.
fn engine(more: &str) -> String {
    having(&format!("{{name: theirs, {}}}", at(URL, more)))
}

/// That with these fields alone.
fn only(fields: &str) -> String {
    having(&format!("{{name: theirs, kafkaConnect: {{{fields}}}}}"))
}

fn urls() -> Vec<Case> {
    let to = |url: &str| having(&format!("{{name: theirs, {}}}", at(url, "")));
    let refused = Refused(
        "kafkaConnect.url in body should match '^https://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?$'",
    );
    let long = |length: usize| to(&format!("https://{}", "c".repeat(length - "https://".len())));
    about(
        "bounds of a Kafka Connect's url",
        [
            ("a host and a port", Platform, Create, to("https://connect.workers.svc:8083"), Accepted),
            ("a host alone", Platform, Create, to("https://connect-1.example.com"), Accepted),
            ("an address and a port", Platform, Create, to("https://192.0.2.7:8443"), Accepted),
            ("a url without TLS", Platform, Create, to("http://connect:8083"), refused),
            ("a url of another kind", Platform, Create, to("ftp://connect:8083"), refused),
            ("a host without https", Platform, Create, to("connect:8083"), refused),
            ("a url with a path", Platform, Create, to("https://connect:8083/connectors"), refused),
            ("a url with a path of nothing", Platform, Create, to("https://connect:8083/"), refused),
            ("a url with a query", Platform, Create, to("https://connect:8083?expand=info"), refused),
            ("a url with a fragment", Platform, Create, to("https://connect:8083#connectors"), refused),
            ("a url with a user", Platform, Create, to("https://weir@connect:8083"), refused),
            ("a url with a user and a password", Platform, Create, to("https://weir:secret@connect:8083"), refused),
            ("a url without a host", Platform, Create, to("https://:8083"), refused),
            ("a url of https alone", Platform, Create, to("https://"), refused),
            ("a url without the port it announces", Platform, Create, to("https://connect:"), refused),
            ("a port in words", Platform, Create, to("https://connect:https"), refused),
            ("a port that is too long", Platform, Create, to("https://connect:808300"), refused),
            ("two hosts", Platform, Create, to("https://connect:8083,other:8083"), refused),
            ("a host with a space", Platform, Create, to("https://connect connect"), refused),
            ("a host of a provider's", Platform, Create, to("https://${env:HOST}"), refused),
            ("a url with a line more", Platform, Create, to("https://connect:8083\\n").replace('\'', "\""), refused),
            ("a url before which is another", Platform, Create, to("http://other?https://connect:8083"), refused),
            (
                "no url",
                Platform,
                Create,
                only(&format!("{CALLER}, {FILES}")),
                Refused("spec.replicationEngines[0].kafkaConnect.url: Required value"),
            ),
            (
                "an empty url",
                Platform,
                Create,
                to(""),
                Refused("spec.replicationEngines[0].kafkaConnect.url in body should be at least 1 chars long"),
            ),
            ("a long url", Platform, Create, long(512), Accepted),
            (
                "too long a url",
                Platform,
                Create,
                long(513),
                Refused("spec.replicationEngines[0].kafkaConnect.url: Too long: may not be more than 512 bytes"),
            ),
        ],
    )
}

fn callers() -> Vec<Case> {
    let by = |secret: &str| only(&format!("url: '{URL}', {FILES}, secretRef: {secret}"));
    let named = |name: &str| by(&format!("{{name: '{name}'}}"));
    about(
        "bounds of who calls a Kafka Connect",
        [
            ("a caller with a Secret", Platform, Create, named("connect"), Accepted),
            (
                "a caller without a Secret",
                Platform,
                Create,
                only(&format!("url: '{URL}', {FILES}")),
                Refused("spec.replicationEngines[0].kafkaConnect.secretRef: Required value"),
            ),
            (
                "a caller with a Secret without a name",
                Platform,
                Create,
                by("{}"),
                Refused("spec.replicationEngines[0].kafkaConnect.secretRef.name: Required value"),
            ),
            (
                "a caller with a Secret with an empty name",
                Platform,
                Create,
                named(""),
                Refused(
                    "spec.replicationEngines[0].kafkaConnect.secretRef.name in body should be at least 1 chars long",
                ),
            ),
            ("a caller with a Secret with a long name", Platform, Create, named(&"s".repeat(253)), Accepted),
            (
                "a caller with a Secret with too long a name",
                Platform,
                Create,
                named(&"s".repeat(254)),
                Refused("kafkaConnect.secretRef.name: Too long: may not be more than 253 bytes"),
            ),
            (
                "a caller with a Secret of another namespace",
                Platform,
                Create,
                by("{name: connect, namespace: workers}"),
                Refused("unknown field \"spec.replicationEngines[0].kafkaConnect.secretRef.namespace\""),
            ),
            (
                "a caller with a password for all to see",
                Platform,
                Create,
                engine("password: secret"),
                Refused("unknown field \"spec.replicationEngines[0].kafkaConnect.password\""),
            ),
        ],
    )
}

/// Those of who copies.
fn shown(fields: &str) -> String {
    only(&format!("url: '{URL}', {CALLER}, credentials: {{{fields}}}"))
}

fn credentials() -> Vec<Case> {
    let namespace = |name: &str| shown(&format!("namespace: '{name}', secretName: copies, directory: /etc/copies"));
    let secret = |name: &str| shown(&format!("namespace: workers, secretName: '{name}', directory: /etc/copies"));
    about(
        "bounds of credentials that are shown",
        [
            (
                "no credentials",
                Platform,
                Create,
                only(&format!("url: '{URL}', {CALLER}")),
                Refused("spec.replicationEngines[0].kafkaConnect.credentials: Required value"),
            ),
            (
                "credentials in no namespace",
                Platform,
                Create,
                shown("secretName: copies, directory: /etc/copies"),
                Refused("spec.replicationEngines[0].kafkaConnect.credentials.namespace: Required value"),
            ),
            (
                "credentials in no Secret",
                Platform,
                Create,
                shown("namespace: workers, directory: /etc/copies"),
                Refused("spec.replicationEngines[0].kafkaConnect.credentials.secretName: Required value"),
            ),
            (
                "credentials in no directory",
                Platform,
                Create,
                shown("namespace: workers, secretName: copies"),
                Refused("spec.replicationEngines[0].kafkaConnect.credentials.directory: Required value"),
            ),
            (
                "credentials in a namespace with an empty name",
                Platform,
                Create,
                namespace(""),
                Refused("kafkaConnect.credentials.namespace in body should be at least 1 chars long"),
            ),
            ("credentials in a namespace with a long name", Platform, Create, namespace(&"n".repeat(63)), Accepted),
            (
                "credentials in a namespace with too long a name",
                Platform,
                Create,
                namespace(&"n".repeat(64)),
                Refused("kafkaConnect.credentials.namespace: Too long: may not be more than 63 bytes"),
            ),
            (
                "credentials in a Secret with an empty name",
                Platform,
                Create,
                secret(""),
                Refused("kafkaConnect.credentials.secretName in body should be at least 1 chars long"),
            ),
            ("credentials in a Secret with a long name", Platform, Create, secret(&"s".repeat(253)), Accepted),
            (
                "credentials in a Secret with too long a name",
                Platform,
                Create,
                secret(&"s".repeat(254)),
                Refused("kafkaConnect.credentials.secretName: Too long: may not be more than 253 bytes"),
            ),
            (
                "credentials in a namespace that is a path",
                Platform,
                Create,
                namespace("a/../b"),
                Refused("kafkaConnect.credentials.namespace in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'"),
            ),
            (
                "credentials in a Secret that is a path",
                Platform,
                Create,
                secret("a/b?c"),
                Refused("kafkaConnect.credentials.secretName in body should match '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'"),
            ),
            (
                "credentials under a key",
                Platform,
                Create,
                shown("namespace: workers, secretName: copies, directory: /etc/copies, key: a"),
                Refused("unknown field \"spec.replicationEngines[0].kafkaConnect.credentials.key\""),
            ),
        ],
    )
}

fn directories() -> Vec<Case> {
    let below = |path: &str| shown(&format!("namespace: workers, secretName: copies, directory: '{path}'"));
    let long = |length: usize| below(&format!("/{}", "d".repeat(length - 1)));
    let refused =
        Refused("kafkaConnect.credentials.directory in body should match '^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$'");
    about(
        "bounds of the directory of credentials",
        [
            ("a directory", Platform, Create, below("/etc/weir-copies_2/v1.0"), Accepted),
            ("a directory above another", Platform, Create, below("/etc/../root"), refused),
            ("a directory of everything", Platform, Create, below("/"), refused),
            ("a directory from nowhere on", Platform, Create, below("etc/copies"), refused),
            ("a directory from here on", Platform, Create, below("./copies"), refused),
            ("a directory of a provider's", Platform, Create, below("/etc/${env:HOME}"), refused),
            ("a directory that ends what a provider is told", Platform, Create, below("/etc}"), refused),
            ("a directory that begins a key", Platform, Create, below("/etc/copies:a"), refused),
            ("a directory with a space", Platform, Create, below("/etc/my copies"), refused),
            ("a directory with a quote", Platform, Create, below("/etc/\"copies\""), refused),
            ("a directory with a backslash", Platform, Create, below("/etc\\copies"), refused),
            ("a directory with a line more", Platform, Create, below("/etc/copies\\n").replace('\'', "\""), refused),
            ("a directory on a second line", Platform, Create, below("a\\n/etc/copies").replace('\'', "\""), refused),
            (
                "an empty directory",
                Platform,
                Create,
                below(""),
                Refused("kafkaConnect.credentials.directory in body should be at least 1 chars long"),
            ),
            ("a long directory", Platform, Create, long(512), Accepted),
            (
                "too long a directory",
                Platform,
                Create,
                long(513),
                Refused("kafkaConnect.credentials.directory: Too long: may not be more than 512 bytes"),
            ),
        ],
    )
}

fn providers() -> Vec<Case> {
    let with = |provider: &str| {
        shown(&format!("namespace: workers, secretName: copies, directory: /etc/copies, provider: {provider}"))
    };
    let by = |name: &str| with(&format!("'{name}'"));
    let refused = Refused("kafkaConnect.credentials.provider in body should match '^[A-Za-z0-9_-]+$'");
    about(
        "bounds of the provider of credentials",
        [
            ("the default provider", Platform, Create, only(&format!("url: '{URL}', {CALLER}, {FILES}")), Accepted),
            ("the default provider in place of null", Platform, Create, with("null"), Accepted),
            ("a provider of that name", Platform, Create, by("file"), Accepted),
            ("a provider of another name", Platform, Create, by("Weir_files-2"), Accepted),
            ("a provider with a dot in its name", Platform, Create, by("weir.files"), refused),
            ("a provider with a path", Platform, Create, by("file:/etc/shadow"), refused),
            ("a provider of a provider's", Platform, Create, by("${env:PROVIDER}"), refused),
            ("a provider with a space in its name", Platform, Create, by("my files"), refused),
            ("a provider with a line more in its name", Platform, Create, by("file\\n").replace('\'', "\""), refused),
            (
                "a provider with an empty name",
                Platform,
                Create,
                by(""),
                Refused("kafkaConnect.credentials.provider in body should be at least 1 chars long"),
            ),
            ("a provider with a long name", Platform, Create, by(&"p".repeat(63)), Accepted),
            (
                "a provider with too long a name",
                Platform,
                Create,
                by(&"p".repeat(64)),
                Refused("kafkaConnect.credentials.provider: Too long: may not be more than 63 bytes"),
            ),
        ],
    )
}

/// As of an engine that Weir runs, whose cases go into more detail.
fn tuning() -> Vec<Case> {
    let most = "tasksMax: 256, consumer: {fetchMinBytes: 1, fetchMaxBytes: 1, fetchMaxWaitMs: 1, maxPartitionFetchBytes: 1, \
                maxPollRecords: 1}, producer: {batchSize: 1, lingerMs: 1, bufferMemory: 1, maxRequestSize: 1, \
                compressionType: zstd}";
    about(
        "bounds of a Kafka Connect's tuning",
        [
            ("all that is tuned of theirs", Platform, Create, engine(most), Accepted),
            ("nothing of theirs", Platform, Create, engine("tasksMax: 1, consumer: {}, producer: {}"), Accepted),
            (
                "no task of theirs",
                Platform,
                Create,
                engine("tasksMax: 0"),
                Refused("kafkaConnect.tasksMax in body should be greater than or equal to 1"),
            ),
            (
                "too many tasks of theirs",
                Platform,
                Create,
                engine("tasksMax: 257"),
                Refused("kafkaConnect.tasksMax in body should be less than or equal to 256"),
            ),
            (
                "less than no byte of theirs",
                Platform,
                Create,
                engine("consumer: {fetchMinBytes: -1}"),
                Refused("kafkaConnect.consumer.fetchMinBytes in body should be greater than or equal to 0"),
            ),
            (
                "their copies compressed by what Kafka has not",
                Platform,
                Create,
                engine("producer: {compressionType: brotli}"),
                Refused("kafkaConnect.producer.compressionType in body should match '^(none|gzip|snappy|lz4|zstd)$'"),
            ),
            (
                "consumers of theirs that read what was aborted",
                Platform,
                Create,
                engine("consumer: {isolationLevel: read_uncommitted}"),
                Refused("unknown field \"spec.replicationEngines[0].kafkaConnect.consumer.isolationLevel\""),
            ),
            (
                "producers of theirs that write elsewhere",
                Platform,
                Create,
                engine("producer: {bootstrapServers: 'evil:9092'}"),
                Refused("unknown field \"spec.replicationEngines[0].kafkaConnect.producer.bootstrapServers\""),
            ),
            (
                "what is tuned of theirs in a place of its own",
                Platform,
                Create,
                engine("tuning: {tasksMax: 2}"),
                Refused("unknown field \"spec.replicationEngines[0].kafkaConnect.tuning\""),
            ),
        ],
    )
}

/// What is said of an engine that Weir runs.
fn of_the_other_kind() -> Vec<Case> {
    about(
        "bounds of a Kafka Connect",
        [
            (
                "an image for what is there already",
                Platform,
                Create,
                engine("image: 'kafka:4'"),
                Refused("unknown field \"spec.replicationEngines[0].kafkaConnect.image\""),
            ),
            (
                "a pull of what is there already",
                Platform,
                Create,
                engine("imagePullPolicy: Never"),
                Refused("unknown field \"spec.replicationEngines[0].kafkaConnect.imagePullPolicy\""),
            ),
            (
                "a command for what is there already",
                Platform,
                Create,
                engine("command: [connect]"),
                Refused("unknown field \"spec.replicationEngines[0].kafkaConnect.command\""),
            ),
            (
                "a number of what is there already",
                Platform,
                Create,
                engine("replicas: 2"),
                Refused("unknown field \"spec.replicationEngines[0].kafkaConnect.replicas\""),
            ),
            (
                "resources for what is there already",
                Platform,
                Create,
                engine("resources: {limits: {memory: 1Gi}}"),
                Refused("unknown field \"spec.replicationEngines[0].kafkaConnect.resources\""),
            ),
        ],
    )
}
