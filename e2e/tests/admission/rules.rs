//! The CEL rules of the definitions.

use crate::approvals;
use crate::cases::Action::{Create, Patch};
use crate::cases::Expect::{Accepted, Refused};
use crate::cases::Persona::{Consumer, Owner, Platform, Root, Weir};
use crate::cases::{Case, about, object};
use crate::{copies, engines, shares};

pub fn cases() -> Vec<Case> {
    [
        clusters(),
        listeners(),
        products(),
        clients(),
        roles(),
        bindings(),
        subjects(),
        events(),
        broker_logs(),
        quota_metrics(),
        trails(),
        approvals::rules(),
        shares::rules(),
        copies::rules(),
        engines::rules(),
    ]
    .concat()
}

fn cluster(spec: &str) -> String {
    object("StreamCluster", "", "sample", &format!("spec: {{bootstrapServers: ['broker:9093'], {spec}}}"))
}

/// Where brokers of a listener run.
fn listeners() -> Vec<Case> {
    let goes = "brokerPods goes with audience External, and only with it";
    let listener = |rest: &str| {
        cluster(&format!(
            "adminCredentials: {{type: Plain, secretRef: {{name: admin}}}}, listeners: [{{name: partners, \
             bootstrapServers: ['broker:9094'], authentication: ScramSha512, {rest}}}]"
        ))
    };
    let pods = |fields: &str| listener(&format!("audience: External, brokerPods: {{{fields}}}"));
    const PODS: &str = "namespace: kafka, selector: {matchLabels: {app: kafka}}, port: 9094";
    let label = "brokerPods.namespace in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'";
    let least = "brokerPods.port in body should be greater than or equal to 1";
    let most = "brokerPods.port in body should be less than or equal to 65535";
    about(
        goes,
        [
            ("brokers in pods", Platform, Create, pods(PODS), Accepted),
            ("all pods of a namespace", Platform, Create, pods("namespace: kafka, selector: {}, port: 1"), Accepted),
            ("a listener for partners alone", Platform, Create, listener("audience: External"), Accepted),
            (
                "brokers in pods for one's own",
                Platform,
                Create,
                listener(&format!("audience: Internal, brokerPods: {{{PODS}}}")),
                Refused(goes),
            ),
            (
                "brokers in pods for whom nobody says",
                Platform,
                Create,
                listener(&format!("brokerPods: {{{PODS}}}")),
                Refused(goes),
            ),
            (
                "brokers in pods of no port",
                Platform,
                Create,
                pods("namespace: kafka, selector: {}"),
                Refused("brokerPods.port: Required value"),
            ),
            (
                "brokers in no pods",
                Platform,
                Create,
                pods("namespace: kafka, port: 9094"),
                Refused("brokerPods.selector: Required value"),
            ),
            ("brokers at port 0", Platform, Create, pods("namespace: kafka, selector: {}, port: 0"), Refused(least)),
            ("brokers at port 65536", Platform, Create, pods("namespace: k, selector: {}, port: 65536"), Refused(most)),
            (
                "brokers in a namespace that is a path",
                Platform,
                Create,
                pods("namespace: a/../b, selector: {}, port: 9094"),
                Refused(label),
            ),
        ],
    )
}

fn clusters() -> Vec<Case> {
    let oauth = "oauth goes with type OauthBearer, and only with it";
    let mtls = "adminCredentials of type Mtls need tls";
    let scram =
        "adminCredentials of a Scram type need tls: Weir sends salted passwords, which are as good as passwords";
    let quotas = "name at least one quota";
    let admin = |rest: &str| cluster(&format!("adminCredentials: {{secretRef: {{name: admin}}, {rest}}}"));
    let tls =
        |kind: &str| cluster(&format!("tls: {{}}, adminCredentials: {{type: {kind}, secretRef: {{name: admin}}}}"));
    let tenancy = |limits: &str| {
        cluster(&format!(
            "adminCredentials: {{type: Plain, secretRef: {{name: admin}}}}, tenancy: [{{name: all, namespaceSelector: {{}}, \
             topicPrefixes: ['{{namespace}}.'], limits: {{quotas: {limits}}}}}]"
        ))
    };
    [
        about(
            oauth,
            [
                (
                    "a token endpoint with OauthBearer",
                    Platform,
                    Create,
                    admin("type: OauthBearer, oauth: {tokenUrl: 'https://issuer/token'}"),
                    Accepted,
                ),
                ("OauthBearer without a token endpoint", Platform, Create, admin("type: OauthBearer"), Refused(oauth)),
                (
                    "OauthBearer with a null token endpoint",
                    Platform,
                    Create,
                    admin("type: OauthBearer, oauth: null"),
                    Refused(oauth),
                ),
                (
                    "a token endpoint with Plain",
                    Platform,
                    Create,
                    admin("type: Plain, oauth: {tokenUrl: 'https://issuer/token'}"),
                    Refused(oauth),
                ),
            ],
        ),
        about(
            mtls,
            [
                ("Mtls with tls", Platform, Create, tls("Mtls"), Accepted),
                ("Mtls without tls", Platform, Create, admin("type: Mtls"), Refused(mtls)),
            ],
        ),
        about(
            scram,
            [
                ("Scram with tls", Platform, Create, tls("ScramSha512"), Accepted),
                ("SHA-512 without tls", Platform, Create, admin("type: ScramSha512"), Refused(scram)),
                ("SHA-256 without tls", Platform, Create, admin("type: ScramSha256"), Refused(scram)),
            ],
        ),
        about(
            quotas,
            [
                ("a limit on a quota", Platform, Create, tenancy("{producerByteRate: 1048576}"), Accepted),
                ("a limit on no quota", Platform, Create, tenancy("{}"), Refused(quotas)),
            ],
        ),
    ]
    .concat()
}

fn products() -> Vec<Case> {
    let immutable = "clusterRef is immutable: make a new product on the other cluster";
    let label = "metadata.name must be a DNS label (no dots): it is part of topic names";
    let spec = "spec: {clusterRef: {name: main}, streams: [{name: placed}]}";
    let long = "p".repeat(64);
    let product = |name: &str| object("DataProduct", "{owner}", name, spec);
    let on = |cluster: &str| {
        object("DataProduct", "{owner}", "orders", &format!("spec: {{clusterRef: {{name: {cluster}}}}}"))
    };
    [
        about(
            immutable,
            [
                ("the same cluster again", Owner, Patch, on("main"), Accepted),
                ("another cluster", Owner, Patch, on("other"), Refused(immutable)),
            ],
        ),
        about(
            label,
            [
                ("a name that is a label", Owner, Create, product("returns-2"), Accepted),
                ("a name with a dot", Owner, Create, product("returns.eu"), Refused(label)),
                ("a name that is too long", Owner, Create, product(&long), Refused(label)),
            ],
        ),
    ]
    .concat()
}

fn clients() -> Vec<Case> {
    let immutable = "clusterRef is immutable: make a new client on the other cluster";
    let kind = "credentials.type is immutable: make a new client";
    let every = "every must be at least 1m";
    let overlap = "overlap must be shorter than every";
    let label = "metadata.name must be a DNS label (no dots): it is part of principals and group names";
    let change = |spec: &str| object("StreamClient", "{owner}", "app", &format!("spec: {{{spec}}}"));
    let named = |name: &str| object("StreamClient", "{consumer}", name, "spec: {clusterRef: {name: main}}");
    let rotating = |rotation: &str| {
        let spec = format!("spec: {{clusterRef: {{name: main}}, credentials: {{rotation: {{{rotation}}}}}}}");
        object("StreamClient", "{consumer}", "rotating", &spec)
    };
    [
        about(
            immutable,
            [
                ("the same cluster again", Owner, Patch, change("clusterRef: {name: main}"), Accepted),
                ("another cluster", Owner, Patch, change("clusterRef: {name: other}"), Refused(immutable)),
            ],
        ),
        about(
            kind,
            [
                ("another Secret", Owner, Patch, change("credentials: {secretName: elsewhere}"), Accepted),
                ("another kind of credential", Owner, Patch, change("credentials: {type: Mtls}"), Refused(kind)),
                (
                    "the default in place of another kind",
                    Owner,
                    Patch,
                    object("StreamClient", "{owner}", "certified", "spec: {credentials: null}"),
                    Refused(kind),
                ),
            ],
        ),
        about(
            every,
            [
                ("rotation each minute", Consumer, Create, rotating("every: 1m, overlap: 10s"), Accepted),
                ("rotation each 59 seconds", Consumer, Create, rotating("every: 59s, overlap: 10s"), Refused(every)),
            ],
        ),
        about(
            overlap,
            [
                ("an overlap of half the time", Consumer, Create, rotating("every: 2h, overlap: 1h"), Accepted),
                (
                    "an overlap of the whole time",
                    Consumer,
                    Create,
                    rotating("every: 60m, overlap: 1h"),
                    Refused(overlap),
                ),
                (
                    "the default overlap, an hour, of half an hour",
                    Consumer,
                    Create,
                    rotating("every: 30m"),
                    Refused(overlap),
                ),
            ],
        ),
        about(
            label,
            [
                ("a name that is a label", Consumer, Create, named("app-2"), Accepted),
                ("a name with a dot", Consumer, Create, named("app.eu"), Refused(label)),
            ],
        ),
    ]
    .concat()
}

fn roles() -> Vec<Case> {
    let empty = "a role needs privileges or inherits";
    let selection = "name either products or a selector";
    let quotas = "name at least one quota";
    let selector = "namespaceSelector goes with mode Selector, and only with it";
    let beforehand = "preApproved goes with approval Owner, and only with it";
    let role = |spec: &str| object("StreamRole", "{owner}", "reader", &format!("spec: {{{spec}}}"));
    let on = |products: &str| role(&format!("privileges: [{{products: {{{products}}}, access: [Read]}}]"));
    let with = |rest: &str| role(&format!("privileges: [{{products: {{names: [orders]}}, access: [Read]}}], {rest}"));
    [
        about(
            empty,
            [
                (
                    "a role that only inherits",
                    Owner,
                    Create,
                    role("inherits: [{namespace: '{owner}', name: base}]"),
                    Accepted,
                ),
                ("a role of nothing", Owner, Create, role(""), Refused(empty)),
                ("a role of empty lists", Owner, Create, role("privileges: [], inherits: []"), Refused(empty)),
            ],
        ),
        about(
            selection,
            [
                ("products by name", Owner, Create, on("names: [orders]"), Accepted),
                ("products by label", Owner, Create, on("selector: {matchLabels: {domain: sales}}"), Accepted),
                ("products both ways", Owner, Create, on("names: [orders], selector: {}"), Refused(selection)),
                ("no products", Owner, Create, on(""), Refused(selection)),
            ],
        ),
        about(
            beforehand,
            [
                ("approved by its owner", Owner, Create, with("approval: Owner"), Accepted),
                (
                    "some approved beforehand",
                    Owner,
                    Create,
                    with("approval: Owner, preApproved: [{namespaceSelector: {}}]"),
                    Accepted,
                ),
                (
                    "approved beforehand, but by nobody",
                    Owner,
                    Create,
                    with("preApproved: [{namespaceSelector: {}}]"),
                    Refused(beforehand),
                ),
            ],
        ),
        about(
            quotas,
            [
                ("a quota", Owner, Create, with("quotas: {requestPercentage: 50}"), Accepted),
                ("quotas of nothing", Owner, Create, with("quotas: {}"), Refused(quotas)),
                ("quotas of null", Owner, Create, with("quotas: {consumerByteRate: null}"), Refused(quotas)),
            ],
        ),
        about(
            selector,
            [
                (
                    "namespaces by label",
                    Owner,
                    Create,
                    with("bindableFrom: {mode: Selector, namespaceSelector: {matchLabels: {team: a}}}"),
                    Accepted,
                ),
                ("every namespace", Owner, Create, with("bindableFrom: {mode: All}"), Accepted),
                (
                    "a selector that is missing",
                    Owner,
                    Create,
                    with("bindableFrom: {mode: Selector}"),
                    Refused(selector),
                ),
                (
                    "a selector that is null",
                    Owner,
                    Create,
                    with("bindableFrom: {mode: Selector, namespaceSelector: null}"),
                    Refused(selector),
                ),
                (
                    "a selector that does nothing",
                    Owner,
                    Create,
                    with("bindableFrom: {mode: All, namespaceSelector: {matchLabels: {team: a}}}"),
                    Refused(selector),
                ),
            ],
        ),
    ]
    .concat()
}

/// A new binding, in the consumer's namespace, to a role of the owner's.
pub fn binding(rest: &str) -> String {
    object(
        "RoleBinding",
        "{consumer}",
        "new",
        &format!("spec: {{roleRef: {{namespace: '{{owner}}', name: reader}}, {rest}}}"),
    )
}

fn bindings() -> Vec<Case> {
    let immutable = "roleRef is immutable: delete the binding and make a new one";
    let end = "give either expiresAt or duration";
    let who = "subjects: [{kind: StreamClient, name: app}]";
    let change = |spec: &str| object("RoleBinding", "{consumer}", "asks", &format!("spec: {{{spec}}}"));
    let ending = |ends: &str| binding(&format!("{who}, {ends}"));
    [
        about(
            immutable,
            [
                ("another purpose", Consumer, Patch, change("purpose: research"), Accepted),
                ("another role", Consumer, Patch, change("roleRef: {name: writer}"), Refused(immutable)),
                (
                    "a role of another namespace",
                    Consumer,
                    Patch,
                    change("roleRef: {namespace: other}"),
                    Refused(immutable),
                ),
            ],
        ),
        about(
            end,
            [
                ("a duration", Consumer, Create, ending("duration: 720h"), Accepted),
                ("an end", Consumer, Create, ending("expiresAt: '2100-01-01T00:00:00Z'"), Accepted),
                ("both", Consumer, Create, ending("duration: 1h, expiresAt: '2100-01-01T00:00:00Z'"), Refused(end)),
            ],
        ),
    ]
    .concat()
}

/// A new binding of one subject.
pub fn of(subject: &str) -> String {
    binding(&format!("subjects: [{{{subject}}}]"))
}

fn subjects() -> Vec<Case> {
    let namespace = "namespace goes with kind ServiceAccount only";
    let label = "the name of a StreamClient or ServiceAccount that is bound must be a DNS label (no dots): it is part of group names";
    let reserved =
        "this User can never be bound: *, ANONYMOUS, system: names and principals that Weir issues are reserved";
    let user = |name: &str| of(&format!("kind: User, name: '{name}'"));
    [
        about(
            namespace,
            [
                (
                    "a ServiceAccount with its namespace",
                    Consumer,
                    Create,
                    of("kind: ServiceAccount, name: scorer, namespace: '{consumer}'"),
                    Accepted,
                ),
                (
                    "a StreamClient with a namespace",
                    Consumer,
                    Create,
                    of("kind: StreamClient, name: app, namespace: '{consumer}'"),
                    Refused(namespace),
                ),
                (
                    "a User with a namespace",
                    Consumer,
                    Create,
                    of("kind: User, name: legacy, namespace: '{consumer}'"),
                    Refused(namespace),
                ),
            ],
        ),
        about(
            label,
            [
                ("a ServiceAccount by a label", Consumer, Create, of("kind: ServiceAccount, name: scorer"), Accepted),
                (
                    "a ServiceAccount with a dot",
                    Consumer,
                    Create,
                    of("kind: ServiceAccount, name: scorer.eu"),
                    Refused(label),
                ),
                ("a StreamClient with a dot", Consumer, Create, of("kind: StreamClient, name: app.eu"), Refused(label)),
            ],
        ),
        about(
            reserved,
            [
                ("a User with dots and capitals", Consumer, Create, user("CN=Legacy.app,O=Example"), Accepted),
                ("everybody", Consumer, Create, user("*"), Refused(reserved)),
                ("those without a login", Consumer, Create, user("ANONYMOUS"), Refused(reserved)),
                (
                    "a ServiceAccount in a User's clothes",
                    Consumer,
                    Create,
                    user("system:serviceaccount:{owner}:scorer"),
                    Refused(reserved),
                ),
                ("a principal that Weir issues", Consumer, Create, user("{owner}.app~1a2b3c4d-1"), Refused(reserved)),
                (
                    "a certificate that Weir issues",
                    Consumer,
                    Create,
                    user("CN={owner}.app~1a2b3c4d-1"),
                    Refused(reserved),
                ),
            ],
        ),
    ]
    .concat()
}

/// The trail that cases change.
pub fn stored_trail() -> String {
    trail("default", "")
}

fn trail(name: &str, spec: &str) -> String {
    let key = "checkpoints: {signingKeyRef: {name: weir-audit}}";
    object("AuditTrail", "", name, &format!("spec: {{clusterRef: {{name: main}}, {key}{spec}}}"))
}

fn broker_logs() -> Vec<Case> {
    let names = "brokerLogs names a tokenSecretRef, or topics";
    let logs = |logs: &str| {
        cluster(&format!("adminCredentials: {{type: Plain, secretRef: {{name: a}}}}, brokerLogs: {{{logs}}}"))
    };
    about(
        names,
        [
            ("a token", Platform, Create, logs("tokenSecretRef: {name: kafka-logs}"), Accepted),
            ("a topic", Platform, Create, logs("topics: [confluent-audit-log-events]"), Accepted),
            ("nothing", Platform, Create, logs(""), Refused(names)),
            ("no topics", Platform, Create, logs("topics: []"), Refused(names)),
        ],
    )
}

fn quota_metrics() -> Vec<Case> {
    let metrics = |endpoints: &str| {
        let admin = "adminCredentials: {type: Plain, secretRef: {name: a}}";
        cluster(&format!("{admin}, quotaMetrics: {{endpoints: [{endpoints}]}}"))
    };
    let pattern = "spec.quotaMetrics.endpoints[0]";
    about(
        pattern,
        [
            ("of the brokers' Service", Platform, Create, metrics("\"http://kafka.kafka.svc:9404/metrics\""), Accepted),
            ("by TLS", Platform, Create, metrics("\"https://kafka.kafka.svc/metrics\""), Accepted),
            ("a file", Platform, Create, metrics("\"file:///etc/passwd\""), Refused(pattern)),
            ("a password", Platform, Create, metrics("\"http://a:b@kafka/metrics\""), Refused(pattern)),
            ("none", Platform, Create, metrics(""), Refused("spec.quotaMetrics.endpoints")),
        ],
    )
}

fn trails() -> Vec<Case> {
    let change = |spec: &str| object("AuditTrail", "", "default", &format!("spec: {{{spec}}}"));
    let labelled = change("").replace("metadata: {", "metadata: {labels: {a: b}, ");
    let (one, cluster, topic) = (
        "metadata.name must be default: there is one trail",
        "clusterRef is immutable: a chain does not move",
        "topic is immutable: a chain does not move",
    );
    [
        about(
            one,
            [
                // Its spec would be changed in the name of who made it.
                ("the trail", Platform, Patch, labelled, Accepted),
                ("another trail", Platform, Create, trail("other", ""), Refused(one)),
                (
                    "a topic of a tenant's",
                    Platform,
                    Create,
                    trail("other", ", topic: payments.orders"),
                    Refused("topic"),
                ),
            ],
        ),
        about(
            cluster,
            [
                ("the same cluster", Platform, Patch, change("clusterRef: {name: main}"), Accepted),
                ("another cluster", Platform, Patch, change("clusterRef: {name: other}"), Refused(cluster)),
            ],
        ),
        about(
            topic,
            [
                ("the same topic", Platform, Patch, change("topic: weir-audit"), Accepted),
                ("another topic", Platform, Patch, change("topic: elsewhere"), Refused(topic)),
            ],
        ),
    ]
    .concat()
}

fn events() -> Vec<Case> {
    let never = "a SecurityEvent never changes";
    let change = |rest: &str| object("SecurityEvent", "{owner}", "seen", rest);
    about(
        never,
        [
            ("the same again, by Weir", Weir, Patch, change("spec: {reason: Applied}"), Accepted),
            ("another message, by Weir", Weir, Patch, change("spec: {message: nothing happened}"), Refused(never)),
            (
                "another actor, by the cluster's administrator",
                Root,
                Patch,
                change("spec: {actor: {name: somebody else}}"),
                Refused(never),
            ),
        ],
    )
}
