//! The admission policies of the chart. `Tenant` has every right that RBAC can give in its namespace: what is refused to it
//! is refused by the policy alone.

use crate::cases::Action::{Create, Delete, DeleteCollection, Patch, PatchStatus, Replace};
use crate::cases::Expect::{Accepted, Refused};
use crate::cases::Persona::{
    Consumer, NamespaceAdmin, NamespaceController, NamespaceEditor, Owner, Platform, Root, Stranger, Tenant, Weir,
};
use crate::cases::{Case, about, object};
use crate::cluster::{RESERVED, event};
use crate::rules::of;

pub fn cases() -> Vec<Case> {
    [status(), events_written(), events_removed(), bind(), reserved(), finalizer(), strangers()].concat()
}

fn status() -> Vec<Case> {
    let rule = "only Weir writes the status of its kinds; change spec instead";
    let refused = Refused("writes the status of ");
    let generation = |kind: &str, name: &str| object(kind, "{owner}", name, "status: {observedGeneration: 1}");
    about(
        rule,
        [
            ("Weir says what it saw", Weir, PatchStatus, generation("DataProduct", "orders"), Accepted),
            ("Weir says what it saw of a binding", Weir, PatchStatus, generation("RoleBinding", "bound"), Accepted),
            ("a product's status", Tenant, PatchStatus, generation("DataProduct", "orders"), refused),
            ("a client's status", Tenant, PatchStatus, generation("StreamClient", "app"), refused),
            ("a binding's status", Tenant, PatchStatus, generation("RoleBinding", "bound"), refused),
            (
                "a status, by the cluster's administrator",
                Root,
                PatchStatus,
                generation("DataProduct", "orders"),
                refused,
            ),
            // The status subresource exists: what is written beside the spec is dropped, and so harmless.
            ("a status beside the spec is dropped", Owner, Patch, generation("DataProduct", "orders"), Accepted),
        ],
    )
}

fn events_written() -> Vec<Case> {
    let rule = "only Weir writes SecurityEvents";
    let refused = Refused("writes SecurityEvents, and ");
    let label =
        object("SecurityEvent", "{owner}", "seen", "spec: {}").replace("metadata: {", "metadata: {labels: {a: b}, ");
    about(
        rule,
        [
            ("Weir writes an event", Weir, Create, event("{owner}", "new"), Accepted),
            ("a tenant invents an event", Tenant, Create, event("{owner}", "new"), refused),
            ("a tenant labels an event", Tenant, Patch, label.clone(), refused),
            ("the cluster's administrator labels an event", Root, Patch, label, refused),
        ],
    )
}

fn events_removed() -> Vec<Case> {
    let rule = "SecurityEvents are removed by Weir, or with their namespace";
    let refused = Refused("SecurityEvents are removed by Weir when their window is full");
    let seen = || event("{owner}", "seen");
    about(
        rule,
        [
            ("Weir forgets an event", Weir, Delete, seen(), Accepted),
            ("the namespace controller removes an event", NamespaceController, Delete, seen(), Accepted),
            ("the namespace controller removes all events", NamespaceController, DeleteCollection, seen(), Accepted),
            ("a tenant removes an event", Tenant, Delete, seen(), refused),
            ("a tenant removes all events", Tenant, DeleteCollection, seen(), refused),
            ("the cluster's administrator removes an event", Root, Delete, seen(), refused),
        ],
    )
}

fn bind() -> Vec<Case> {
    let rule = "binding a StreamRole in its own namespace takes the verb bind on it";
    let refused = Refused("takes the verb bind on streamroles.weir.dev");
    let inside = || {
        object(
            "RoleBinding",
            "{owner}",
            "new",
            "spec: {roleRef: {namespace: '{owner}', name: reader}, subjects: [{kind: StreamClient, name: app}]}",
        )
    };
    let outside = |namespace| {
        object(
            "RoleBinding",
            namespace,
            "new",
            "spec: {roleRef: {namespace: elsewhere, name: reader}, subjects: [{kind: StreamClient, name: app}]}",
        )
    };
    let change = |spec: &str| object("RoleBinding", "{owner}", "bound", spec);
    let more = "spec: {subjects: [{kind: StreamClient, name: app}, {kind: StreamClient, name: other}]}";
    let labels =
        || object("RoleBinding", "{owner}", "bound", "spec: {}").replace("metadata: {", "metadata: {labels: {a: b}, ");
    about(
        rule,
        [
            ("the owner binds its role", Owner, Create, inside(), Accepted),
            ("an admin of the namespace binds its role", NamespaceAdmin, Create, inside(), Accepted),
            ("an editor of the namespace binds its role", NamespaceEditor, Create, inside(), refused),
            ("a consumer in the owner's namespace binds its role", Consumer, Create, inside(), refused),
            ("who may bind one role binds it", Consumer, Create, inside().replace("reader", "bindable"), Accepted),
            ("a consumer binds another namespace's role", Consumer, Create, outside("{consumer}"), Accepted),
            (
                "a consumer in the owner's namespace binds a third one's role",
                Consumer,
                Create,
                outside("{owner}"),
                Accepted,
            ),
            ("the owner adds a subject", Owner, Patch, change(more), Accepted),
            ("a consumer adds a subject", Consumer, Patch, change(more), refused),
            ("a consumer makes it last longer", Consumer, Patch, change("spec: {duration: 9000h}"), refused),
            ("a consumer labels the binding", Consumer, Patch, labels(), Accepted),
            ("a consumer deletes the binding", Consumer, Delete, change("spec: {}"), Accepted),
        ],
    )
}

fn reserved() -> Vec<Case> {
    let typed = "the name of a User goes without User:";
    let shape = "the name of a User must not begin or end with a space, nor hold control characters";
    let platform = "the platform reserves this principal";
    let user = |name: &str| of(&format!("kind: User, name: {name}"));
    [
        about(
            typed,
            [
                ("a User by its name", Consumer, Create, user("legacy"), Accepted),
                ("a User with its type", Consumer, Create, user("'User:legacy'"), Refused("without User:")),
                (
                    "a User with its type in small letters",
                    Consumer,
                    Create,
                    user("'user:legacy'"),
                    Refused("without user:"),
                ),
            ],
        ),
        about(
            shape,
            [
                ("a User with a space within", Consumer, Create, user("'CN=Legacy App'"), Accepted),
                ("a User that ends with a space", Consumer, Create, user("'legacy '"), Refused(shape)),
                ("a User that begins with a space", Consumer, Create, user("' admin'"), Refused(shape)),
                ("a User with a line break", Consumer, Create, user("\"a\\nb\""), Refused(shape)),
                ("a User with a zero-width space", Consumer, Create, user("\"adm\\u200bin\""), Refused(shape)),
            ],
        ),
        about(
            platform,
            [
                ("a User like a reserved one", Consumer, Create, user(&format!("{RESERVED}-2")), Accepted),
                ("a reserved User", Consumer, Create, user(RESERVED), Refused("is reserved by the platform")),
                (
                    "a reserved User, by the owner",
                    Owner,
                    Create,
                    user(RESERVED).replacen("{consumer}", "{owner}", 1),
                    Refused("is reserved by the platform"),
                ),
                (
                    "a ServiceAccount of a reserved User's name",
                    Consumer,
                    Create,
                    of(&format!("kind: ServiceAccount, name: {RESERVED}")),
                    Accepted,
                ),
            ],
        ),
    ]
    .concat()
}

fn finalizer() -> Vec<Case> {
    let rule = "only Weir removes weir.dev/finalizer, once what the object gave is taken away";
    let refused = Refused("only Weir removes weir.dev/finalizer from ");
    let with = |kind: &str, name: &str, finalizers: &str| {
        object(kind, "{owner}", name, "spec: {}")
            .replace("metadata: {", &format!("metadata: {{finalizers: {finalizers}, "))
    };
    let product = "spec: {clusterRef: {name: main}, streams: [{name: placed}]}";
    about(
        rule,
        [
            ("Weir takes its finalizer off", Weir, Patch, with("DataProduct", "orders", "[]"), Accepted),
            ("the owner takes it off", Owner, Patch, with("DataProduct", "orders", "[]"), refused),
            ("a tenant takes it off", Tenant, Patch, with("DataProduct", "orders", "[]"), refused),
            (
                "a tenant swaps it for another",
                Tenant,
                Patch,
                with("RoleBinding", "bound", "[example.com/other]"),
                refused,
            ),
            ("an admin takes it off a client", NamespaceAdmin, Patch, with("StreamClient", "app", "[]"), refused),
            (
                "the owner replaces the object with one that has none",
                Owner,
                Replace,
                object("DataProduct", "{owner}", "orders", product),
                refused,
            ),
            (
                "the owner adds another beside it",
                Owner,
                Patch,
                with("DataProduct", "orders", "[weir.dev/finalizer, example.com/other]"),
                Accepted,
            ),
            ("the cluster's administrator takes it off", Root, Patch, with("DataProduct", "orders", "[]"), Accepted),
            ("the owner deletes, and it stays on", Owner, Delete, with("DataProduct", "orders", "[]"), Accepted),
            (
                "the namespace controller deletes, and it stays on",
                NamespaceController,
                DeleteCollection,
                with("DataProduct", "orders", "[]"),
                Accepted,
            ),
        ],
    )
}

/// Not policies but rights, with the words that people see.
fn strangers() -> Vec<Case> {
    let none = "RBAC";
    let forbidden = Refused("is forbidden: User");
    let product = || object("DataProduct", "{owner}", "mine", "spec: {clusterRef: {name: main}, streams: [{name: s}]}");
    let cluster = || {
        object(
            "StreamCluster",
            "",
            "mine",
            "spec: {bootstrapServers: ['a:1'], adminCredentials: {type: Plain, secretRef: {name: a}}}",
        )
    };
    about(
        none,
        [
            ("a stranger asks for access", Stranger, Create, of("kind: StreamClient, name: app"), forbidden),
            ("a stranger offers a product", Stranger, Create, product(), forbidden),
            ("a consumer offers a product", Consumer, Create, product(), forbidden),
            ("an owner offers a product", Owner, Create, product(), Accepted),
            ("an owner registers a cluster", Owner, Create, cluster(), forbidden),
            ("a tenant registers a cluster", Tenant, Create, cluster(), forbidden),
            ("the platform registers a cluster", Platform, Create, cluster(), Accepted),
            ("the platform offers a product in an owner's namespace", Platform, Create, product(), forbidden),
        ],
    )
}
