//! Shares with pattern Copy, and what is approved of them.

use crate::approvals::decision;
use crate::cases::Action::{Create, Patch, PatchStatus};
use crate::cases::Expect::{Accepted, Refused};
use crate::cases::Persona::{Owner, Weir};
use crate::cases::{Case, about, object};

/// Stored for the cases to change: a copy that says no more than it has to.
pub const PLAIN: &str = "kind: ExternalShare, metadata: {namespace: '{owner}', name: plain}, spec: {products: [{name: orders}], \
                         partnerRefs: [{name: acme}], pattern: Copy, destination: {clusterRef: {name: elsewhere}}, engine: mm2, \
                         validity: {notAfter: 2099-01-01T00:00:00Z}}";

/// Stored for the cases to change: a copy that says all that it may.
pub const DETAILED: &str = "kind: ExternalShare, metadata: {namespace: '{owner}', name: detailed}, spec: {products: [{name: orders}], \
                            partnerRefs: [{name: acme}], pattern: Copy, destination: {clusterRef: {name: elsewhere}}, engine: mm2, \
                            history: {from: Since, since: '2026-01-01T00:00:00Z'}, targetTopicPolicy: Delete, \
                            validity: {notAfter: 2099-01-01T00:00:00Z}}";

/// Stored for the cases to change: a role that bindings ask for.
pub const ASKED: &str = "kind: StreamRole, metadata: {namespace: '{owner}', name: asked}, \
                         spec: {privileges: [{products: {names: [orders]}, access: [Read]}]}";

const ELSEWHERE: &str = "destination: {clusterRef: {name: elsewhere}}";

const STREAMS: &str = "streams: [{product: orders, stream: placed, access: [Read]}]";

/// The rules of the definitions, and the bounds that stand beside them.
pub fn rules() -> Vec<Case> {
    [patterns(), destinations(), engines(), topics(), histories(), bounds(), engine_names(), approvals(), scopes()]
        .concat()
}

fn share(how: &str) -> String {
    let spec = "products: [{name: orders}], partnerRefs: [{name: acme}], validity: {notAfter: 2099-01-01T00:00:00Z}";
    object("ExternalShare", "{owner}", "new", &format!("spec: {{{spec}, {how}}}"))
}

fn copy(more: &str) -> String {
    copy_by("mm2", more)
}

fn copy_by(engine: &str, more: &str) -> String {
    share(&format!("pattern: Copy, {ELSEWHERE}, engine: '{engine}', {more}"))
}

fn direct(more: &str) -> String {
    share(&format!("pattern: Direct, {more}"))
}

fn change(stored: &str, spec: &str) -> String {
    object("ExternalShare", "{owner}", stored, &format!("spec: {{{spec}}}"))
}

fn patterns() -> Vec<Case> {
    let immutable = "pattern is immutable: make another share";
    let to_copy = format!("pattern: Copy, {ELSEWHERE}, engine: mm2");
    about(
        immutable,
        [
            ("the same pattern again", Owner, Patch, change("plain", "pattern: Copy"), Accepted),
            (
                "a copy becomes direct",
                Owner,
                Patch,
                change("plain", "pattern: Direct, destination: null, engine: null"),
                Refused(immutable),
            ),
            ("a direct share becomes a copy", Owner, Patch, change("shared", &to_copy), Refused(immutable)),
        ],
    )
}

fn destinations() -> Vec<Case> {
    let pair = "destination goes with pattern Copy, and only with it";
    let immutable = "destination is immutable: make another share";
    let other = "destination: {clusterRef: {name: other}}";
    [
        about(
            pair,
            [
                ("a copy that goes somewhere", Owner, Create, copy(""), Accepted),
                ("a direct share that goes nowhere", Owner, Create, direct("destination: null"), Accepted),
                ("a copy that goes nowhere", Owner, Create, share("pattern: Copy, engine: mm2"), Refused(pair)),
                (
                    "a copy that goes to null",
                    Owner,
                    Create,
                    share("pattern: Copy, engine: mm2, destination: null"),
                    Refused(pair),
                ),
                ("a direct share that goes somewhere", Owner, Create, direct(ELSEWHERE), Refused(pair)),
                ("a copy loses its destination", Owner, Patch, change("plain", "destination: null"), Refused(pair)),
                ("a direct share gets a destination", Owner, Patch, change("shared", ELSEWHERE), Refused(pair)),
            ],
        ),
        about(
            immutable,
            [
                ("the same destination again", Owner, Patch, change("plain", ELSEWHERE), Accepted),
                ("another destination", Owner, Patch, change("plain", other), Refused(immutable)),
            ],
        ),
    ]
    .concat()
}

fn engines() -> Vec<Case> {
    let pair = "engine goes with pattern Copy, and only with it";
    let immutable = "engine is immutable: make another share";
    let without = |engine: &str| share(&format!("pattern: Copy, {ELSEWHERE}, {engine}"));
    [
        about(
            pair,
            [
                ("a copy by an engine", Owner, Create, copy(""), Accepted),
                ("a direct share by no engine", Owner, Create, direct("engine: null"), Accepted),
                ("a copy by no engine", Owner, Create, without(""), Refused(pair)),
                ("a copy by null", Owner, Create, without("engine: null"), Refused(pair)),
                ("a direct share by an engine", Owner, Create, direct("engine: mm2"), Refused(pair)),
                ("a copy loses its engine", Owner, Patch, change("plain", "engine: null"), Refused(pair)),
                ("a direct share gets an engine", Owner, Patch, change("shared", "engine: mm2"), Refused(pair)),
            ],
        ),
        about(
            immutable,
            [
                ("the same engine again", Owner, Patch, change("plain", "engine: mm2"), Accepted),
                ("another engine", Owner, Patch, change("plain", "engine: other"), Refused(immutable)),
            ],
        ),
    ]
    .concat()
}

fn topics() -> Vec<Case> {
    let pair = "targetTopicPolicy goes with pattern Copy: with Direct there are no other topics";
    let policy = |what: &str| format!("targetTopicPolicy: {what}");
    about(
        pair,
        [
            ("copies that are deleted", Owner, Create, copy(&policy("Delete")), Accepted),
            ("copies that are kept", Owner, Create, copy(&policy("Retain")), Accepted),
            ("a direct share that keeps what is not there", Owner, Create, direct(&policy("Retain")), Accepted),
            ("a direct share that says nothing of it", Owner, Create, direct(&policy("null")), Accepted),
            ("copies are kept after all", Owner, Patch, change("detailed", &policy("Retain")), Accepted),
            ("copies are deleted after all", Owner, Patch, change("plain", &policy("Delete")), Accepted),
            ("copies are kept by default", Owner, Patch, change("detailed", &policy("null")), Accepted),
            ("a direct share that deletes what is not there", Owner, Create, direct(&policy("Delete")), Refused(pair)),
            ("a direct share deletes after all", Owner, Patch, change("shared", &policy("Delete")), Refused(pair)),
        ],
    )
}

fn histories() -> Vec<Case> {
    let pair = "history goes with pattern Copy: with Direct, the partner reads what is there";
    let immutable = "history is immutable: make another share";
    let since = "since goes with from: Since, and only with it";
    let from = |what: &str| copy(&format!("history: {{{what}}}"));
    let to = |stored: &str, what: &str| change(stored, &format!("history: {what}"));
    let at = "from: Since, since: '2026-01-01T00:00:00Z'";
    let straight = |what: &str| direct(&format!("history: {{{what}}}"));
    [
        about(
            pair,
            [
                ("a copy of all there is", Owner, Create, from("from: All"), Accepted),
                ("a direct share of what comes", Owner, Create, straight("from: FromNow"), Accepted),
                ("a direct share of all there is", Owner, Create, straight("from: All"), Refused(pair)),
                ("a direct share since a time", Owner, Create, straight(at), Refused(pair)),
                ("a direct share gets a history", Owner, Patch, to("shared", "{from: All}"), Refused(pair)),
            ],
        ),
        about(
            immutable,
            [
                ("the same history again", Owner, Patch, to("detailed", &format!("{{{at}}}")), Accepted),
                (
                    "the same moment elsewhere",
                    Owner,
                    Patch,
                    to("detailed", "{since: '2026-01-01T01:00:00+01:00'}"),
                    Accepted,
                ),
                ("the default history again", Owner, Patch, to("plain", "{from: FromNow}"), Accepted),
                (
                    "an earlier time",
                    Owner,
                    Patch,
                    to("detailed", "{since: '2025-12-31T23:59:59Z'}"),
                    Refused(immutable),
                ),
                ("a copy of more than was agreed", Owner, Patch, to("plain", "{from: All}"), Refused(immutable)),
                (
                    "all in place of a time",
                    Owner,
                    Patch,
                    to("detailed", "{from: All, since: null}"),
                    Refused(immutable),
                ),
                ("a copy loses its history", Owner, Patch, to("detailed", "null"), Refused(immutable)),
            ],
        ),
        about(
            since,
            [
                ("since a time", Owner, Create, from(at), Accepted),
                ("all, since null", Owner, Create, from("from: All, since: null"), Accepted),
                ("a history of nothing", Owner, Create, from(""), Accepted),
                ("since no time", Owner, Create, from("from: Since"), Refused(since)),
                ("since null", Owner, Create, from("from: Since, since: null"), Refused(since)),
                ("all, since a time", Owner, Create, from(&at.replace("from: Since", "from: All")), Refused(since)),
                ("from now on, since a time", Owner, Create, from(&at.replace("from: Since, ", "")), Refused(since)),
            ],
        ),
    ]
    .concat()
}

fn bounds() -> Vec<Case> {
    let to = |cluster: &str| share(&format!("pattern: Copy, engine: mm2, destination: {cluster}"));
    about(
        "bounds of a copy",
        [
            (
                "copies are archived",
                Owner,
                Create,
                copy("targetTopicPolicy: Archive"),
                Refused("spec.targetTopicPolicy: Unsupported value: \"Archive\""),
            ),
            (
                "a pattern of another time",
                Owner,
                Create,
                share("pattern: Mirror"),
                Refused("Unsupported value: \"Mirror\""),
            ),
            (
                "a history of another time",
                Owner,
                Create,
                copy("history: {from: Yesterday}"),
                Refused("spec.history.from: Unsupported value: \"Yesterday\""),
            ),
            (
                "since a word",
                Owner,
                Create,
                copy("history: {from: Since, since: yesterday}"),
                Refused("spec.history.since in body must be of type date-time"),
            ),
            (
                "a destination without a name",
                Owner,
                Create,
                to("{}"),
                Refused("spec.destination.clusterRef: Required value"),
            ),
            (
                "a destination with an empty name",
                Owner,
                Create,
                to("{clusterRef: {name: ''}}"),
                Refused("spec.destination.clusterRef.name in body should be at least 1 chars long"),
            ),
            (
                "a destination of another kind",
                Owner,
                Create,
                to("{clusterRef: {name: elsewhere}, bootstrapServers: ['evil:9092']}"),
                Refused("unknown field \"spec.destination.bootstrapServers\""),
            ),
        ],
    )
}

fn engine_names() -> Vec<Case> {
    let by = |name: &str| copy_by(name, "");
    let label = Refused("spec.engine in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'");
    about(
        "bounds of a copy's engine",
        [
            ("a copy by an engine of one letter", Owner, Create, by("e"), Accepted),
            ("a copy by an engine with dashes in its name", Owner, Create, by("4-mm--2"), Accepted),
            ("a copy by an engine with a long name", Owner, Create, by(&"e".repeat(63)), Accepted),
            ("a copy by an engine with capitals in its name", Owner, Create, by("MM2"), label),
            ("a copy by an engine with a dot in its name", Owner, Create, by("mm2.eu"), label),
            ("a copy by an engine with a slash in its name", Owner, Create, by("other/mm2"), label),
            (
                "a copy by an engine with a line more in its name",
                Owner,
                Create,
                by("mm2\\n").replace('\'', "\""),
                label,
            ),
            ("a copy by an engine that begins with a dash", Owner, Create, by("-mm2"), label),
            ("a copy by an engine that ends with a dash", Owner, Create, by("mm2-"), label),
            (
                "a copy by an engine with too long a name",
                Owner,
                Create,
                by(&"e".repeat(64)),
                Refused("spec.engine: Too long: may not be more than 63 bytes"),
            ),
            (
                "a copy by an engine with an empty name",
                Owner,
                Create,
                by(""),
                Refused("spec.engine in body should be at least 1 chars long"),
            ),
        ],
    )
}

/// A decision about a share, within this scope.
fn approved(scope: &str) -> String {
    let spec = format!(
        "spec: {{requestRef: {{kind: ExternalShare, namespace: '{{owner}}', name: plain, uid: u}}, \
         targetRef: {{kind: ExternalShare, name: plain}}, partnerRef: {{name: acme, uid: p}}, reviewer: '{{me}}', \
         decision: Approved, scope: {{{scope}, {STREAMS}}}}}"
    );
    object("AccessApproval", "{owner}", "new", &spec)
}

fn approvals() -> Vec<Case> {
    let rule = "the scope of a RoleBinding names subjects, that of an ExternalShare its pattern";
    about(
        rule,
        [
            (
                "a copy is approved, with its destination",
                Owner,
                Create,
                approved("pattern: Copy, destination: elsewhere"),
                Accepted,
            ),
            (
                "a destination is approved without a pattern",
                Owner,
                Create,
                approved("destination: elsewhere"),
                Refused(rule),
            ),
            (
                "a destination is approved that has no name",
                Owner,
                Create,
                approved("pattern: Copy, destination: ''"),
                Refused("spec.scope.destination in body should be at least 1 chars long"),
            ),
            (
                "two destinations are approved at once",
                Owner,
                Create,
                approved("pattern: Copy, destination: [elsewhere, other]"),
                Refused("spec.scope.destination in body must be of type string"),
            ),
        ],
    )
}

/// Where a destination is named: in what is approved, and in what waits for it.
fn scopes() -> Vec<Case> {
    let pair = "destination goes with pattern Copy, and only with it";
    let subjects = "subjects: [{kind: StreamClient, name: app}]";
    let bound = |scope: &str| {
        let scope = format!("decision: Approved, scope: {{{subjects}, {STREAMS}, {scope}}}");
        decision("new", "{me}", &scope)
    };
    let waiting = |scope: &str| {
        let request =
            format!("kind: RoleBinding, namespace: '{{consumer}}', name: asks, uid: u, {subjects}, {STREAMS}");
        object("StreamRole", "{owner}", "asked", &format!("status: {{requests: [{{{request}, {scope}}}]}}"))
    };
    let (to, nowhere) = ("destination: elsewhere", "destination: null");
    let (copy, direct) = (|to: &str| format!("pattern: Copy, {to}"), |to: &str| format!("pattern: Direct, {to}"));
    about(
        pair,
        [
            ("a copy is approved to where it goes", Owner, Create, approved(&copy(to)), Accepted),
            ("a direct share is approved", Owner, Create, approved("pattern: Direct"), Accepted),
            ("a direct share is approved to null", Owner, Create, approved(&direct(nowhere)), Accepted),
            ("a copy is approved to anywhere", Owner, Create, approved("pattern: Copy"), Refused(pair)),
            ("a copy is approved to null", Owner, Create, approved(&copy(nowhere)), Refused(pair)),
            ("a direct share is approved to somewhere", Owner, Create, approved(&direct(to)), Refused(pair)),
            ("somewhere is approved without a pattern", Owner, Create, approved(to), Refused(pair)),
            ("a binding is approved", Owner, Create, bound(""), Accepted),
            ("a binding is approved to null", Owner, Create, bound(nowhere), Accepted),
            ("a binding is approved to somewhere", Owner, Create, bound(to), Refused(pair)),
            ("a binding waits", Weir, PatchStatus, waiting(""), Accepted),
            ("what waits would go somewhere", Weir, PatchStatus, waiting(&copy(to)), Accepted),
            ("a binding waits to go somewhere", Weir, PatchStatus, waiting(to), Refused(pair)),
            ("what waits would go anywhere", Weir, PatchStatus, waiting(&copy(nowhere)), Refused(pair)),
        ],
    )
}
