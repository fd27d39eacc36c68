//! Objects as a user would write them.

use super::CLUSTER;
use super::tenant::TEST_LABEL;

/// A product with one stream of each name, whose topics are `<namespace>.<product>.<stream>`.
pub fn product(name: &str, streams: &[&str]) -> String {
    let streams: Vec<_> = streams.iter().map(|s| format!("{{name: {s}, partitions: 1, replicas: 3}}")).collect();
    product_with(name, &format!("streams: [{}]", streams.join(", ")))
}

/// A product with these further fields of its spec, in one line.
pub fn product_with(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: weir.dev/v1alpha1, kind: DataProduct, metadata: {{name: {name}}}, \
         spec: {{clusterRef: {{name: {CLUSTER}}}, {spec}}}}}"
    )
}

/// A role that gives `access` to streams of one product and may be bound from everywhere.
pub fn role(name: &str, product: &str, streams: &[&str], access: &str) -> String {
    let products = format!("names: [{product}]");
    role_with(name, &format!("{}, bindableFrom: {{mode: All}}", privilege(&products, streams, access)))
}

/// The field `privileges` with one of them.
pub fn privilege(products: &str, streams: &[&str], access: &str) -> String {
    format!("privileges: [{{products: {{{products}}}, streams: [{}], access: [{access}]}}]", streams.join(", "))
}

/// A role with this spec.
pub fn role_with(name: &str, spec: &str) -> String {
    format!("{{apiVersion: weir.dev/v1alpha1, kind: StreamRole, metadata: {{name: {name}}}, spec: {{{spec}}}}}")
}

/// A client with a password that is never rotated by itself.
pub fn client(name: &str) -> String {
    client_with(name, "type: ScramSha512")
}

/// A client with these credentials.
pub fn client_with(name: &str, credentials: &str) -> String {
    format!(
        "{{apiVersion: weir.dev/v1alpha1, kind: StreamClient, metadata: {{name: {name}}}, \
         spec: {{clusterRef: {{name: {CLUSTER}}}, credentials: {{{credentials}}}}}}}"
    )
}

/// A binding of a StreamClient to a role of namespace `owner`.
pub fn binding(name: &str, owner: &str, role: &str, client: &str) -> String {
    binding_with(name, owner, role, &format!("subjects: [{{kind: StreamClient, name: {client}}}]"))
}

/// A binding with these further fields of its spec.
pub fn binding_with(name: &str, owner: &str, role: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: weir.dev/v1alpha1, kind: RoleBinding, metadata: {{name: {name}}}, \
         spec: {{roleRef: {{namespace: {owner}, name: {role}}}, {spec}}}}}"
    )
}

/// A partner with this standing.
pub fn partner(name: &str, standing: &str) -> String {
    let label = TEST_LABEL.replace('=', ": '");
    format!(
        "{{apiVersion: weir.dev/v1alpha1, kind: Partner, metadata: {{name: {name}, labels: {{{label}'}}}}, \
         spec: {{organisation: Acme, standing: {standing}}}}}"
    )
}

/// A ServiceAccount.
pub fn account(name: &str) -> String {
    format!("{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {name}}}}}")
}
