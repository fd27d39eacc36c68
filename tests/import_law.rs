//! Holds the law of imports (docs/contributing.md) by reading the sources:
//!
//! `api <- domain <- { ports, tls } <- { kafka, replication, k8s, audit, web } <- controllers <- run <- main`
//!
//! A layer uses those before it. Adapters never use each other, `api` uses nothing of ours, and `domain` uses no client, no
//! clock, no environment and no runtime. It reads paths as text, so a name that starts with `crate::` or `weir::` counts
//! wherever it stands in code; comments do not.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The layers in their order; those of one rank do not use each other.
const LAYERS: [(&str, u8); 17] = [
    ("api", 0),
    ("domain", 1),
    ("ports", 2),
    ("tls", 2),
    ("kafka", 3),
    ("replication", 3),
    ("k8s", 3),
    ("audit", 3),
    ("web", 3),
    ("pki", 3),
    ("sealing", 3),
    ("controllers", 4),
    ("run", 5),
    ("cli", 5),
    ("partners", 5),
    ("main", 6),
    ("lib", 7),
];

/// What `domain` must not name, and why.
const IMPURE: [(&str, &str); 13] = [
    ("tokio::", "it awaits"),
    ("async fn", "it awaits"),
    (".await", "it awaits"),
    ("kube::Client", "a client"),
    ("kube::client", "a client"),
    ("kube::Api", "a client"),
    ("kube::api::Api", "a client"),
    ("kube::runtime", "a client"),
    ("SystemTime", "a clock"),
    ("Instant", "a clock"),
    ("Timestamp::now", "a clock"),
    ("std::env", "the environment"),
    ("std::fs", "the file system"),
];

fn rank(layer: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == layer).map(|(_, rank)| *rank)
}

/// `layer` of a file below `src`: its first directory, or its own name.
fn layer_of(path: &Path) -> String {
    let first = path.components().next().map(|c| c.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    first.trim_end_matches(".rs").to_owned()
}

/// The code without comments and without what stands in quotes.
fn code_of(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().find(|c| *c == '\n');
                code.push('\n');
            }
            '"' => {
                code.push('"');
                while let Some(c) = chars.next() {
                    match c {
                        '\\' => drop(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
                code.push('"');
            }
            // A quote as a character would open a string that never ends.
            '\'' if chars.peek() == Some(&'"') => {
                chars.next();
                code.push('\'');
            }
            '\'' if chars.peek() == Some(&'\\') => {
                chars.next();
                chars.next();
            }
            c => code.push(c),
        }
    }
    code
}

/// The modules that `code` names after `crate::` or `weir::`, also within braces.
fn modules_named(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for root in ["crate::", "weir::"] {
        for (at, _) in code.match_indices(root) {
            let starts = code[..at]
                .chars()
                .next_back()
                .is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':' || c == '$'));
            if !starts {
                continue;
            }
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(list) => named.extend(heads(list)),
                None => named.push(word(rest)),
            }
        }
    }
    named.retain(|name| !name.is_empty());
    named
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first word of each item of a list in braces, up to its end.
fn heads(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut heads = vec![word(list)];
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(&list[at + 1..])),
            _ => {}
        }
    }
    heads
}

/// What is wrong with one file.
fn faults(path: &Path, source: &str) -> Vec<String> {
    let layer = layer_of(path);
    let at = path.display();
    let Some(mine) = rank(&layer) else {
        // Beside the layers stand files that only `main` and the tests use; `crds` lists the kinds.
        let outside = ["crds", "uninstall"].contains(&layer.as_str());
        return if outside { Vec::new() } else { vec![format!("{at}: {layer} has no place in the law of imports")] };
    };
    let code = code_of(source);
    let mut faults = Vec::new();
    for other in modules_named(&code) {
        let allowed = other == layer || rank(&other).is_none_or(|theirs| theirs < mine);
        if !allowed {
            faults.push(format!("{at}: {layer} must not use {other}"));
        }
    }
    // `super` at the top of a layer is the crate.
    let is_top = path.components().count() == 1 || path.ends_with("mod.rs") && path.components().count() == 2;
    if is_top && layer != "lib" && layer != "main" {
        let supers = code.match_indices("super::").filter(|(at, _)| is_outside_of_inner_modules(&code, *at));
        if supers.count() > 0 {
            faults.push(format!("{at}: {layer} must name other layers by crate::"));
        }
    }
    if layer == "domain" {
        for (name, what) in IMPURE.iter().filter(|(name, _)| names(&code, name)) {
            faults.push(format!("{at}: domain must not use {name}: {what}"));
        }
        let kube_items = code.match_indices("kube::{").flat_map(|(at, root)| heads(&code[at + root.len()..]));
        for item in kube_items.filter(|item| ["Client", "Api", "client", "runtime"].contains(&item.as_str())) {
            faults.push(format!("{at}: domain must not use kube::{item}: a client"));
        }
    }
    faults
}

/// Whether no `mod name {` is open at this place.
fn is_outside_of_inner_modules(code: &str, at: usize) -> bool {
    let before = &code[..at];
    let depth = |text: &str| text.matches('{').count() as i64 - text.matches('}').count() as i64;
    !before
        .match_indices("mod ")
        .filter(|(start, _)| before[*start..].split('\n').next().is_some_and(|line| line.trim_end().ends_with('{')))
        .any(|(start, _)| depth(&before[start..]) > 0)
}

/// Whether `code` has `name`, not as the end of a longer word.
fn names(code: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + name.len()..].chars().next();
        let starts = !name.starts_with(is_word) || before.is_none_or(|c| !is_word(c));
        let ends = !name.ends_with(is_word) || after.is_none_or(|c| !is_word(c));
        starts && ends
    })
}

fn sources(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn every_source_file_keeps_the_law_of_imports() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&src).unwrap();
    assert!(files.iter().any(|f| f.ends_with("domain/index.rs")), "{files:?}");
    let faults: Vec<_> = files
        .iter()
        .flat_map(|file| faults(file.strip_prefix(&src).unwrap(), &fs::read_to_string(file).unwrap()))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn of(path: &str, source: &str) -> Vec<String> {
    faults(Path::new(path), source)
}

#[test]
fn a_layer_may_use_those_before_it() {
    for (path, source) in [
        ("api/role.rs", "use super::shared::X;\nuse crate::api::Y;"),
        ("domain/plan.rs", "use crate::{api::{A, B}, domain::acl};\nuse super::acl;\nuse kube::ResourceExt;"),
        ("ports.rs", "use crate::domain::secret::Secret;"),
        ("kafka/mod.rs", "use crate::ports::{KafkaAdmin, Ledger};\nmod tests {\n    use super::X;\n}\n"),
        ("controllers/x.rs", "use crate::kafka::Y;"),
        ("main.rs", "fn main() { weir::run::go() }"),
        (
            "domain/x.rs",
            "// tokio::spawn, crate::ports\n//! SystemTime\nconst X: &str = \"crate::kafka \\\" std::env\";",
        ),
    ] {
        assert_eq!(of(path, source), [] as [String; 0], "{path}: {source}");
    }
}

#[test]
fn what_breaks_the_law_is_found() {
    for (path, source, fault) in [
        ("api/role.rs", "use crate::domain::acl::AclEntry;", "api must not use domain"),
        ("domain/plan.rs", "use crate::ports::KafkaAdmin;", "domain must not use ports"),
        ("domain/plan.rs", "use crate::{\n    api::A,\n    ports::B,\n};", "domain must not use ports"),
        ("domain/plan.rs", "fn f(x: &crate::kafka::Admin) {}", "domain must not use kafka"),
        ("domain/mod.rs", "use super::kafka::X;", "domain must name other layers by crate::"),
        ("ports.rs", "use crate::kafka::X;", "ports must not use kafka"),
        ("kafka/admin.rs", "pub use crate::k8s::X;", "kafka must not use k8s"),
        ("web/mod.rs", "use crate::controllers::X;", "web must not use controllers"),
        ("controllers/x.rs", "use crate::run::X;", "controllers must not use run"),
        ("somewhere/x.rs", "", "somewhere has no place in the law of imports"),
        ("domain/x.rs", "use kube::Client;", "kube::Client"),
        ("domain/x.rs", "use kube::{Api, ResourceExt};", "kube::Api"),
        ("domain/x.rs", "use std::time::{Duration, SystemTime};", "SystemTime"),
        ("domain/x.rs", "let t = std::time::Instant::now();", "Instant"),
        ("domain/x.rs", "let t = jiff::Timestamp::now();", "Timestamp::now"),
        ("domain/x.rs", "tokio::spawn(x)", "tokio::"),
        ("domain/x.rs", "let e = std::env::var(\"X\");", "std::env"),
        ("domain/x.rs", "let c = '\"'; use crate::ports::X;", "domain must not use ports"),
    ] {
        let found = of(path, source);
        assert!(found.iter().any(|f| f.contains(fault)), "{path}: {source}: {found:?}");
    }
}
