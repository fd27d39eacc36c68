//! Clusters that take copies: whose, and what carries them.

mod connect;
mod destinations;
mod link;
mod strimzi;
mod workers;

use crate::cases::Action::{Create, Patch};
use crate::cases::Expect::{Accepted, Refused};
use crate::cases::Persona::Platform;
use crate::cases::{Case, about, object};

/// The rules of the definition, and the bounds that stand beside them.
pub fn rules() -> Vec<Case> {
    [
        destinations::cases(),
        names(),
        kinds(),
        changes(),
        addresses(),
        workers::cases(),
        connect::cases(),
        strimzi::cases(),
        link::cases(),
    ]
    .concat()
}

/// Stored for the cases to change: an engine of each kind.
pub fn stored() -> String {
    let theirs = at(URL, "");
    let all = format!(
        "{{name: mm2, {IMAGE}}}, {{name: theirs, {theirs}}}, {{name: tended, {STRIMZI}}}, {{name: link, {LINK}}}"
    );
    changed(&all)
}

/// What becomes of that with these engines.
fn changed(engines: &str) -> String {
    named("{owner}", &format!("replicationEngines: [{engines}]"))
}

fn having(engines: &str) -> String {
    cluster(&format!("replicationEngines: [{engines}]"))
}

fn cluster(spec: &str) -> String {
    named("sample", spec)
}

fn named(name: &str, spec: &str) -> String {
    let spec = format!(
        "spec: {{bootstrapServers: ['broker:9093'], adminCredentials: {{type: Plain, secretRef: {{name: admin}}}}, {spec}}}"
    );
    object("StreamCluster", "", name, &spec)
}

/// As many as `count`, each with a name of its own and the rest.
fn several(count: usize, rest: &str) -> String {
    (0..count).map(|i| format!("{{name: n{i}, {rest}}}")).collect::<Vec<_>>().join(", ")
}

const IMAGE: &str = "mirrorMaker2: {image: 'kafka:4'}";
const STRIMZI: &str = "strimzi: {namespace: streams}";
const LINK: &str = "clusterLink: {url: 'https://kafka:8090', secretRef: {name: rest}}";
const URL: &str = "https://connect:8083";
const CALLER: &str = "secretRef: {name: connect}";
const FILES: &str = "credentials: {namespace: workers, secretName: copies, directory: /etc/copies}";

/// A Kafka Connect that is there already, at `url`, with this beside what it has to say.
fn at(url: &str, more: &str) -> String {
    format!("kafkaConnect: {{url: '{url}', {CALLER}, {FILES}, {more}}}")
}

/// How they are named, and how many there are.
fn names() -> Vec<Case> {
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
                "an engine of another kind",
                Platform,
                Create,
                having(&format!("{{name: mm2, {IMAGE}, clusterLinking: {{}}}}")),
                Refused("unknown field \"spec.replicationEngines[0].clusterLinking\""),
            ),
        ],
    )
}

/// What they are.
fn kinds() -> Vec<Case> {
    let one = "name one of mirrorMaker2, kafkaConnect, strimzi and clusterLink";
    let theirs = at(URL, "");
    let mm2 = |kinds: &str| format!("{{name: mm2, {kinds}}}");
    let of = |kinds: &str| having(&mm2(kinds));
    let into = |kinds: &str| changed(&format!("{}, {{name: theirs, {theirs}}}", mm2(kinds)));
    about(
        one,
        [
            ("an engine that Weir runs", Platform, Create, of(IMAGE), Accepted),
            ("an engine that is there already", Platform, Create, of(&theirs), Accepted),
            (
                "an engine of each kind",
                Platform,
                Create,
                having(&format!("{}, {{name: a, {theirs}}}, {{name: b, {STRIMZI}}}, {{name: c, {LINK}}}", mm2(IMAGE))),
                Accepted,
            ),
            (
                "an engine that Weir runs, and null",
                Platform,
                Create,
                of(&format!("{IMAGE}, kafkaConnect: null")),
                Accepted,
            ),
            (
                "an engine that is there already, and null",
                Platform,
                Create,
                of(&format!("{theirs}, mirrorMaker2: null")),
                Accepted,
            ),
            ("an engine of both kinds", Platform, Create, of(&format!("{IMAGE}, {theirs}")), Refused(one)),
            ("an engine of two others", Platform, Create, of(&format!("{theirs}, {STRIMZI}")), Refused(one)),
            ("a link and another engine", Platform, Create, of(&format!("{LINK}, {STRIMZI}")), Refused(one)),
            ("an engine of all kinds", Platform, Create, of(&format!("{IMAGE}, {theirs}, {STRIMZI}")), Refused(one)),
            ("an engine of no kind", Platform, Create, of(""), Refused(one)),
            ("an engine of null", Platform, Create, of("mirrorMaker2: null, kafkaConnect: null"), Refused(one)),
            ("an engine gets another kind besides", Platform, Patch, into(&format!("{IMAGE}, {theirs}")), Refused(one)),
            ("an engine loses its kind", Platform, Patch, into(""), Refused(one)),
        ],
    )
}

/// What may become of them.
fn changes() -> Vec<Case> {
    let stays = "what an engine is is immutable, for it knows how far copies are: offer another one";
    let theirs = at(URL, "");
    let both = |mm2: &str, other: &str| changed(&format!("{{name: mm2, {mm2}}}, {{name: theirs, {other}}}"));
    about(
        stays,
        [
            ("the same engines again", Platform, Patch, both(IMAGE, &theirs), Accepted),
            (
                "the same engines the other way round",
                Platform,
                Patch,
                changed(&format!("{{name: theirs, {theirs}}}, {{name: mm2, {IMAGE}}}")),
                Accepted,
            ),
            ("another image", Platform, Patch, both("mirrorMaker2: {image: 'kafka:5'}", &theirs), Accepted),
            (
                "another engine is offered",
                Platform,
                Patch,
                changed(&format!("{{name: mm2, {IMAGE}}}, {{name: theirs, {theirs}}}, {{name: new, {IMAGE}}}")),
                Accepted,
            ),
            (
                "an engine that Weir runs becomes one that is there already",
                Platform,
                Patch,
                both(&theirs, &theirs),
                Refused(stays),
            ),
            (
                "an engine that Weir runs becomes null and one that is there already",
                Platform,
                Patch,
                both(&format!("mirrorMaker2: null, {theirs}"), &theirs),
                Refused(stays),
            ),
            (
                "an engine that is there already becomes one that Weir runs",
                Platform,
                Patch,
                both(IMAGE, IMAGE),
                Refused(stays),
            ),
            ("two engines change places", Platform, Patch, both(&theirs, IMAGE), Refused(stays)),
        ],
    )
}

/// Where they are.
fn addresses() -> Vec<Case> {
    let stays = "url is immutable, for the Kafka Connect there knows how far copies are: offer another engine";
    let theirs = |kind: &str| changed(&format!("{{name: mm2, {IMAGE}}}, {{name: theirs, {kind}}}"));
    let moved = |url: &str| theirs(&at(url, ""));
    let elsewhere =
        "secretRef: {name: other}, credentials: {namespace: elsewhere, secretName: other, directory: /etc/other}";
    let mounted = "secretRef: {name: other}, credentials: {namespace: workers, secretName: copies, directory: /etc/other, \
                   provider: other}";
    let left = "the Secret of an engine is immutable, for credentials are in it: offer another engine";
    let secrets = about(
        left,
        [
            (
                "the same Secret, mounted elsewhere",
                Platform,
                Patch,
                theirs(&format!("kafkaConnect: {{url: '{URL}', {mounted}}}")),
                Accepted,
            ),
            (
                "the same url, with credentials elsewhere",
                Platform,
                Patch,
                theirs(&format!("kafkaConnect: {{url: '{URL}', {elsewhere}}}")),
                Refused(left),
            ),
        ],
    );
    about(
        stays,
        [
            ("the same url, tuned", Platform, Patch, theirs(&at(URL, "tasksMax: 2")), Accepted),
            (
                "another engine at another url",
                Platform,
                Patch,
                changed(&format!("{{name: theirs, {}}}, {{name: new, {}}}", at(URL, ""), at("https://other:8083", ""))),
                Accepted,
            ),
            ("another host", Platform, Patch, moved("https://other:8083"), Refused(stays)),
            ("another port", Platform, Patch, moved("https://connect:8443"), Refused(stays)),
            ("no port in place of one", Platform, Patch, moved("https://connect"), Refused(stays)),
        ],
    )
    .into_iter()
    .chain(secrets)
    .collect()
}
