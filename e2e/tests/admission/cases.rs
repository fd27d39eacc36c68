//! What a case is.

/// Who tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Persona {
    /// Has weir-platform in the cluster.
    Platform,
    /// Has weir-owner in the owner's namespace.
    Owner,
    /// Has weir-consumer in the owner's and in the consumer's namespace.
    Consumer,
    /// Has weir-viewer in the owner's namespace.
    Viewer,
    /// Has the built-in `admin` in the owner's namespace.
    NamespaceAdmin,
    /// Has the built-in `edit` in the owner's namespace.
    NamespaceEditor,
    /// Has every verb on every resource in the owner's namespace, by a Role of that namespace.
    Tenant,
    /// May do nothing.
    Stranger,
    /// May do everything, by group system:masters.
    Root,
    /// Has weir-security in the owner's namespace.
    Security,
    /// Weir's ServiceAccount.
    Weir,
    /// The partner API's ServiceAccount.
    Partners,
    /// The namespace controller.
    NamespaceController,
}

/// What is tried. All are dry runs.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Create the manifest.
    Create,
    /// Merge-patch the stored object of that kind, namespace and name with the manifest.
    Patch,
    /// The same, on its status.
    PatchStatus,
    /// Put the manifest in the place of the stored object.
    Replace,
    /// Delete that object.
    Delete,
    /// Delete all of that kind in the namespace.
    DeleteCollection,
}

/// What should come of it.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    Accepted,
    /// Refused with a message that contains this.
    Refused(&'static str),
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Case {
    /// A sentence.
    pub name: &'static str,
    /// The `message` of the rule or validation that it is about.
    pub rule: &'static str,
    pub persona: Persona,
    pub action: Action,
    /// YAML, with `{owner}` and `{consumer}` for the names of the namespaces, `{me}` for that of whoever tries.
    pub manifest: String,
    pub expect: Expect,
}

/// Several rows about one rule: each is a name, who, what, a manifest and the outcome.
pub fn about<const N: usize>(
    rule: &'static str,
    rows: [(&'static str, Persona, Action, String, Expect); N],
) -> Vec<Case> {
    rows.map(|(name, persona, action, manifest, expect)| Case { name, rule, persona, action, manifest, expect })
        .to_vec()
}

/// A manifest: kind, namespace (empty for none), name, and the rest as YAML in flow style.
pub fn object(kind: &str, namespace: &str, name: &str, rest: &str) -> String {
    let namespace = if namespace.is_empty() { String::new() } else { format!("namespace: '{namespace}', ") };
    format!("{{apiVersion: weir.dev/v1alpha1, kind: {kind}, metadata: {{{namespace}name: '{name}'}}, {rest}}}")
}
