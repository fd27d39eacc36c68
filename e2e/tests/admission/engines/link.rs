//! An engine of cluster links: where its REST interface is, and how Weir is known there.

use super::{CALLER, IMAGE, LINK, STRIMZI, URL, at, changed, having};
use crate::cases::Action::{Create, Patch};
use crate::cases::Expect::{Accepted, Refused};
use crate::cases::Persona::Platform;
use crate::cases::{Case, about};

/// Of `clusterLink`.
pub fn cases() -> Vec<Case> {
    [urls(), paths(), callers(), changes()].concat()
}

/// That with these fields alone.
fn only(fields: &str) -> String {
    having(&format!("{{name: link, clusterLink: {{{fields}}}}}"))
}

fn urls() -> Vec<Case> {
    let to = |url: &str| only(&format!("url: '{url}', {CALLER}"));
    let refused = Refused(
        "clusterLink.url in body should match '^https://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?$'",
    );
    let long = |length: usize| to(&format!("https://{}", "c".repeat(length - "https://".len())));
    about(
        "bounds of a destination's url",
        [
            ("a broker's host and port", Platform, Create, to("https://kafka.example.com:8090"), Accepted),
            ("a broker's host alone", Platform, Create, to("https://pkc-1.region.example.com"), Accepted),
            ("a destination without TLS", Platform, Create, to("http://kafka:8090"), refused),
            ("a destination with a path", Platform, Create, to("https://kafka:8090/kafka"), refused),
            ("a destination with a password", Platform, Create, to("https://weir:secret@kafka:8090"), refused),
            ("a destination with a query", Platform, Create, to("https://kafka:8090?force=true"), refused),
            ("a destination without a host", Platform, Create, to("https://:8090"), refused),
            ("a long url of a destination", Platform, Create, long(512), Accepted),
            (
                "too long a url of a destination",
                Platform,
                Create,
                long(513),
                Refused("spec.replicationEngines[0].clusterLink.url: Too long: may not be more than 512 bytes"),
            ),
            (
                "an empty url of a destination",
                Platform,
                Create,
                to(""),
                Refused("spec.replicationEngines[0].clusterLink.url in body should be at least 1 chars long"),
            ),
            (
                "no url of a destination",
                Platform,
                Create,
                only(CALLER),
                Refused("spec.replicationEngines[0].clusterLink.url: Required value"),
            ),
        ],
    )
}

fn paths() -> Vec<Case> {
    let below = |path: &str| only(&format!("url: '{URL}', {CALLER}, path: '{path}'"));
    let refused = Refused("clusterLink.path in body should match '^(/[A-Za-z0-9._-]+)*$'");
    about(
        "bounds of a destination's path",
        [
            ("no path", Platform, Create, below(""), Accepted),
            ("a path of two parts", Platform, Create, below("/a/kafka"), Accepted),
            ("a path without a slash", Platform, Create, below("kafka"), refused),
            ("a path with a slash at its end", Platform, Create, below("/kafka/"), refused),
            ("a path with a query", Platform, Create, below("/kafka?a=b"), refused),
            ("a path to another host", Platform, Create, below("@other"), refused),
            ("a long path", Platform, Create, below(&format!("/{}", "p".repeat(255))), Accepted),
            (
                "too long a path",
                Platform,
                Create,
                below(&format!("/{}", "p".repeat(256))),
                Refused("clusterLink.path: Too long: may not be more than 256 bytes"),
            ),
        ],
    )
}

fn callers() -> Vec<Case> {
    let by = |secret: &str| only(&format!("url: '{URL}', secretRef: {secret}"));
    about(
        "bounds of who calls a destination",
        [
            ("a caller of a destination", Platform, Create, by("{name: rest}"), Accepted),
            (
                "a caller of a destination without a Secret",
                Platform,
                Create,
                only(&format!("url: '{URL}'")),
                Refused("spec.replicationEngines[0].clusterLink.secretRef: Required value"),
            ),
            (
                "a caller of a destination with a Secret of another namespace",
                Platform,
                Create,
                by("{name: rest, namespace: workers}"),
                Refused("unknown field \"spec.replicationEngines[0].clusterLink.secretRef.namespace\""),
            ),
            (
                "a destination with configuration of links",
                Platform,
                Create,
                only(&format!("url: '{URL}', {CALLER}, config: {{acl.sync.enable: 'true'}}")),
                Refused("unknown field \"spec.replicationEngines[0].clusterLink.config\""),
            ),
        ],
    )
}

fn changes() -> Vec<Case> {
    let with = |link: &str| {
        let theirs = at(URL, "");
        let rest = format!("{{name: mm2, {IMAGE}}}, {{name: theirs, {theirs}}}, {{name: tended, {STRIMZI}}}");
        changed(&format!("{rest}, {{name: link, {link}}}"))
    };
    let kind = "what an engine is is immutable, for it knows how far copies are: offer another one";
    about(
        kind,
        [
            ("the same link", Platform, Patch, with(LINK), Accepted),
            (
                "a link by another url",
                Platform,
                Patch,
                with("clusterLink: {url: 'https://other:8090', path: '', secretRef: {name: other}}"),
                Accepted,
            ),
            ("a link becomes an engine that Weir runs", Platform, Patch, with(IMAGE), Refused(kind)),
            ("a link becomes an engine that is there", Platform, Patch, with(&at(URL, "")), Refused(kind)),
            ("a link becomes one of Strimzi's", Platform, Patch, with(STRIMZI), Refused(kind)),
        ],
    )
}
