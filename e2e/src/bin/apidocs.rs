//! Writes the API reference from the CustomResourceDefinitions: `apidocs CRD-DIR > docs/api.md`.
//!
//! Reads files, writes to standard output, and does no other I/O. The same definitions give the same text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

/// Order of the kinds: as one meets them.
const ORDER: [&str; 10] = [
    "StreamCluster",
    "DataProduct",
    "StreamRole",
    "StreamClient",
    "RoleBinding",
    "AccessApproval",
    "Partner",
    "ExternalShare",
    "Invitation",
    "SecurityEvent",
];

/// The part of a CustomResourceDefinition that is told.
#[derive(Deserialize)]
struct Definition {
    spec: DefinitionSpec,
}

#[derive(Deserialize)]
struct DefinitionSpec {
    group: String,
    names: Names,
    scope: String,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names {
    kind: String,
    plural: String,
    #[serde(default)]
    short_names: Vec<String>,
}

#[derive(Deserialize)]
struct Version {
    name: String,
    schema: VersionSchema,
}

#[derive(Deserialize)]
struct VersionSchema {
    #[serde(rename = "openAPIV3Schema")]
    root: Schema,
}

/// A structural schema as Kubernetes has it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Schema {
    r#type: String,
    format: String,
    description: String,
    default: Option<Value>,
    r#enum: Vec<Value>,
    pattern: String,
    minimum: Option<f64>,
    maximum: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    required: Vec<String>,
    properties: BTreeMap<String, Schema>,
    items: Option<Box<Schema>>,
    additional_properties: Option<Box<Schema>>,
    #[serde(rename = "x-kubernetes-validations")]
    rules: Vec<Rule>,
    #[serde(rename = "x-kubernetes-list-map-keys")]
    keys: Vec<String>,
}

#[derive(Deserialize)]
struct Rule {
    rule: String,
    #[serde(default)]
    message: String,
}

fn main() -> anyhow::Result<()> {
    let Some(dir) = std::env::args().nth(1) else { bail!("usage: apidocs CRD-DIR") };
    let mut definitions = read(Path::new(&dir))?;
    definitions.sort_by_key(|d| {
        let known = ORDER.iter().position(|kind| *kind == d.spec.names.kind);
        (known.unwrap_or(ORDER.len()), d.spec.names.kind.clone())
    });
    print!("{}", document(&definitions)?);
    Ok(())
}

fn read(dir: &Path) -> anyhow::Result<Vec<Definition>> {
    let mut definitions = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("failed to read {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
            let parsed = serde_yaml::from_str(&text).with_context(|| format!("failed to parse {}", path.display()))?;
            definitions.push(parsed);
        }
    }
    Ok(definitions)
}

fn document(definitions: &[Definition]) -> anyhow::Result<String> {
    let mut out = String::from(
        "# API reference\n\n\
         Written by `make generate` from the CustomResourceDefinitions in `crds/`: edit the types in `src/api` instead.\n\n\
         A field marked `*` is required. What stands in italics is a rule that the API server holds when an object is\n\
         written; what needs a look at other objects, or at the brokers, is said in the object's conditions.\n\n",
    );
    for definition in definitions {
        let kind = &definition.spec.names.kind;
        writeln!(out, "- [{kind}](#{})", kind.to_lowercase())?;
    }
    for definition in definitions {
        describe(&mut out, definition)?;
    }
    Ok(out)
}

fn describe(out: &mut String, definition: &Definition) -> anyhow::Result<()> {
    let DefinitionSpec { group, names, scope, versions } = &definition.spec;
    for version in versions {
        let root = &version.schema.root;
        writeln!(out, "\n## {}\n\n{}\n", names.kind, root.description)?;
        let short = match names.short_names.as_slice() {
            [] => String::new(),
            short => format!(", short `{}`", short.join("`, `")),
        };
        let scope = if scope == "Cluster" { "cluster-scoped" } else { "namespaced" };
        writeln!(out, "`{group}/{}`, `kubectl get {}.{group}`{short}, {scope}.", version.name, names.plural)?;
        for rule in &root.rules {
            writeln!(out, "\n*{}* (`{}`)", cell(&rule.message), rule.rule)?;
        }
        for (part, schema) in &root.properties {
            if ["apiVersion", "kind", "metadata"].contains(&part.as_str()) {
                continue;
            }
            writeln!(out, "\n### {}: {part}\n", names.kind)?;
            for rule in &schema.rules {
                writeln!(out, "*{}* (`{}`)\n", cell(&rule.message), rule.rule)?;
            }
            writeln!(out, "| field | type | default | what |\n| --- | --- | --- | --- |")?;
            fields(out, schema, "")?;
        }
    }
    Ok(())
}

fn fields(out: &mut String, schema: &Schema, path: &str) -> anyhow::Result<()> {
    for (name, field) in &schema.properties {
        let at = format!("{path}{name}");
        let star = if schema.required.contains(name) { " *" } else { "" };
        let default = field.default.as_ref().map_or(String::new(), |d| format!("`{d}`"));
        writeln!(out, "| `{at}`{star} | {} | {default} | {} |", type_of(field), what(field))?;
        let (inner, mark) = match (&field.items, &field.additional_properties) {
            (Some(items), _) => (items.as_ref(), "[]"),
            (_, Some(values)) => (values.as_ref(), "{}"),
            _ => (field, ""),
        };
        fields(out, inner, &format!("{at}{mark}."))?;
    }
    Ok(())
}

fn type_of(schema: &Schema) -> String {
    match (&schema.items, &schema.additional_properties) {
        (Some(items), _) if schema.keys.is_empty() => format!("list of {}", type_of(items)),
        (Some(items), _) => format!("list of {} by `{}`", type_of(items), schema.keys.join("`, `")),
        (_, Some(values)) => format!("map to {}", type_of(values)),
        _ if !schema.r#enum.is_empty() => {
            let values: Vec<_> = schema.r#enum.iter().filter_map(Value::as_str).map(|v| format!("`{v}`")).collect();
            values.join(", ")
        }
        _ if schema.format.is_empty() => schema.r#type.clone(),
        _ => format!("{} ({})", schema.r#type, schema.format),
    }
}

/// The description, the bounds and the rules.
fn what(schema: &Schema) -> String {
    let here = || std::iter::once(schema).chain(schema.items.as_deref());
    let mut bounds = Vec::new();
    bounds.extend(range("", schema.minimum, schema.maximum));
    bounds.extend(range(" characters", schema.min_length, schema.max_length));
    bounds.extend(range(" items", schema.min_items, schema.max_items));
    bounds.extend(here().filter(|s| !s.pattern.is_empty()).map(|s| format!("matches `{}`", cell(&s.pattern))));
    let mut parts = vec![cell(&schema.description)];
    if !bounds.is_empty() {
        parts.push(format!("({})", bounds.join("; ")));
    }
    for rule in here().flat_map(|s| &s.rules) {
        let text = if rule.message.is_empty() { &rule.rule } else { &rule.message };
        parts.push(format!("*{}.*", cell(text)));
    }
    parts.retain(|p| !p.is_empty());
    parts.join(" ")
}

fn range<N: std::fmt::Display>(unit: &str, min: Option<N>, max: Option<N>) -> Option<String> {
    match (min, max) {
        (Some(min), Some(max)) => Some(format!("{min} to {max}{unit}")),
        (Some(min), None) => Some(format!("at least {min}{unit}")),
        (None, Some(max)) => Some(format!("at most {max}{unit}")),
        (None, None) => None,
    }
}

/// Text as it can stand in a table's cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
