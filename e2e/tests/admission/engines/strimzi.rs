//! An engine of Strimzi's: where its resources are, and how they run.

use super::{IMAGE, STRIMZI, URL, at, changed, having};
use crate::cases::Action::{Create, Patch};
use crate::cases::Expect::{Accepted, Refused};
use crate::cases::Persona::Platform;
use crate::cases::{Case, about};

/// Of `strimzi`.
pub fn cases() -> Vec<Case> {
    [places(), moves(), workers(), of_the_other_kinds()].concat()
}

/// That of the cases, with this beside what it has to say.
fn engine(more: &str) -> String {
    only(&format!("namespace: streams, {more}"))
}

/// That with these fields alone.
fn only(fields: &str) -> String {
    having(&format!("{{name: tended, strimzi: {{{fields}}}}}"))
}

fn places() -> Vec<Case> {
    let label = Refused("strimzi.namespace in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'");
    let at = |namespace: &str| only(&format!("namespace: '{namespace}'"));
    about(
        "bounds of where Strimzi copies",
        [
            ("a namespace of Strimzi's", Platform, Create, at("streams"), Accepted),
            ("a long namespace of Strimzi's", Platform, Create, at(&"n".repeat(63)), Accepted),
            (
                "no namespace of Strimzi's",
                Platform,
                Create,
                only(""),
                Refused("spec.replicationEngines[0].strimzi.namespace: Required value"),
            ),
            (
                "an empty namespace of Strimzi's",
                Platform,
                Create,
                at(""),
                Refused("strimzi.namespace in body should be at least 1 chars long"),
            ),
            (
                "too long a namespace of Strimzi's",
                Platform,
                Create,
                at(&"n".repeat(64)),
                Refused("strimzi.namespace: Too long: may not be more than 63 bytes"),
            ),
            ("a namespace of Strimzi's that is a path", Platform, Create, at("a/../b"), label),
            ("a namespace of Strimzi's with capitals", Platform, Create, at("Streams"), label),
        ],
    )
}

fn moves() -> Vec<Case> {
    let stays = "namespace is immutable, for what is there knows how far copies are: offer another engine";
    let with = |strimzi: &str| {
        let theirs = at(URL, "");
        changed(&format!("{{name: mm2, {IMAGE}}}, {{name: theirs, {theirs}}}, {{name: tended, {strimzi}}}"))
    };
    let kind = "what an engine is is immutable, for it knows how far copies are: offer another one";
    let kinds = about(
        kind,
        [
            ("an engine of Strimzi's becomes one that Weir runs", Platform, Patch, with(IMAGE), Refused(kind)),
            ("an engine of Strimzi's becomes one that is there", Platform, Patch, with(&at(URL, "")), Refused(kind)),
        ],
    );
    let places = about(
        stays,
        [
            (
                "the same namespace of Strimzi's, tuned",
                Platform,
                Patch,
                with("strimzi: {namespace: streams, tasksMax: 2, replicas: 2, version: 4.3.1}"),
                Accepted,
            ),
            (
                "another namespace of Strimzi's",
                Platform,
                Patch,
                with("strimzi: {namespace: elsewhere}"),
                Refused(stays),
            ),
        ],
    );
    [kinds, places].concat()
}

fn workers() -> Vec<Case> {
    let version = Refused("strimzi.version in body should match '^[0-9]+\\.[0-9]+\\.[0-9]+$'");
    let versioned = |version: &str| engine(&format!("version: '{version}'"));
    let full = "version: 4.3.1, image: 'strimzi/kafka:1', replicas: 32, tasksMax: 256, \
                resources: {requests: {cpu: 1, memory: 512Mi}, limits: {memory: 1Gi}}, \
                consumer: {maxPollRecords: 1}, producer: {compressionType: zstd}";
    about(
        "bounds of Strimzi's workers",
        [
            ("the most of Strimzi's", Platform, Create, engine(full), Accepted),
            ("the least of Strimzi's", Platform, Create, engine("replicas: 1, tasksMax: 1"), Accepted),
            ("a version of two numbers", Platform, Create, versioned("4.3"), version),
            ("a version in words", Platform, Create, versioned("latest"), version),
            (
                "an empty version",
                Platform,
                Create,
                versioned(""),
                Refused("strimzi.version in body should be at least 1 chars long"),
            ),
            (
                "too long a version",
                Platform,
                Create,
                versioned(&format!("4.3.{}", "1".repeat(60))),
                Refused("strimzi.version: Too long: may not be more than 63 bytes"),
            ),
            (
                "an empty image of Strimzi's",
                Platform,
                Create,
                engine("image: ''"),
                Refused("strimzi.image in body should be at least 1 chars long"),
            ),
            (
                "too long an image of Strimzi's",
                Platform,
                Create,
                engine(&format!("image: {}", "i".repeat(513))),
                Refused("strimzi.image: Too long: may not be more than 512 bytes"),
            ),
            (
                "no worker of Strimzi's",
                Platform,
                Create,
                engine("replicas: 0"),
                Refused("strimzi.replicas in body should be greater than or equal to 1"),
            ),
            (
                "too many workers of Strimzi's",
                Platform,
                Create,
                engine("replicas: 33"),
                Refused("strimzi.replicas in body should be less than or equal to 32"),
            ),
            (
                "no task of Strimzi's",
                Platform,
                Create,
                engine("tasksMax: 0"),
                Refused("strimzi.tasksMax in body should be greater than or equal to 1"),
            ),
        ],
    )
}

fn of_the_other_kinds() -> Vec<Case> {
    about(
        "bounds of an engine of Strimzi's",
        [
            (
                "a url for Strimzi",
                Platform,
                Create,
                engine("url: 'https://connect:8083'"),
                Refused("unknown field \"spec.replicationEngines[0].strimzi.url\""),
            ),
            (
                "a command for Strimzi",
                Platform,
                Create,
                engine("command: [sh]"),
                Refused("unknown field \"spec.replicationEngines[0].strimzi.command\""),
            ),
            (
                "a template for Strimzi",
                Platform,
                Create,
                engine("template: {}"),
                Refused("unknown field \"spec.replicationEngines[0].strimzi.template\""),
            ),
            (
                "a configuration for Strimzi",
                Platform,
                Create,
                engine("config: {}"),
                Refused("unknown field \"spec.replicationEngines[0].strimzi.config\""),
            ),
            ("an engine of Strimzi's", Platform, Create, having(&format!("{{name: tended, {STRIMZI}}}")), Accepted),
        ],
    )
}
