//! The codes on the wire against Kafka's own enums.

use std::collections::BTreeMap;
use std::process::Command;

use weir::domain::acl::{Operation, PatternType, Permission, ResourceType};
use weir::kafka::{ERROR_NAMES, METADATA_VERSIONS, disposition, scram_code};
use weir::ports::{Disposition, ScramMechanism};

use crate::kafka_lab::lab;

/// Upper snake case, as Java's enums have it.
fn java(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn every_code_is_the_one_of_kafkas_own_enums() {
    let Some(classpath) = lab().classpath else { panic!("the lab's description has no classpath") };
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/tests/java/Codes.java");
    let run = Command::new("java").args(["-cp", &classpath, source]).output().expect("java runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let output = String::from_utf8(run.stdout).unwrap();
    let mut theirs: BTreeMap<(&str, String), i16> = BTreeMap::new();
    let mut retriable = BTreeMap::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let code = words[2].parse().unwrap();
        theirs.insert((words[0], words[1].to_owned()), code);
        if words[0] == "Errors" {
            retriable.insert(code, words[3] == "true");
        }
    }
    let mut ours: BTreeMap<(&str, String), i16> = BTreeMap::new();
    ours.extend(Operation::ALL.iter().map(|o| (("AclOperation", java(o.name().unwrap())), o.code().into())));
    ours.extend(ResourceType::ALL.iter().map(|r| (("ResourceType", java(r.name().unwrap())), r.code().into())));
    ours.extend(PatternType::ALL.iter().map(|p| (("PatternType", java(p.name().unwrap())), p.code().into())));
    ours.extend(Permission::ALL.iter().map(|p| (("AclPermissionType", java(p.name().unwrap())), p.code().into())));
    for mechanism in [ScramMechanism::Sha256, ScramMechanism::Sha512] {
        let name = mechanism.to_string().replace('-', "_");
        ours.insert(("ScramMechanism", name), scram_code(mechanism).into());
    }
    ours.extend(ERROR_NAMES.iter().map(|(code, name)| (("Errors", (*name).to_owned()), *code)));
    ours.extend(METADATA_VERSIONS.iter().map(|(level, name)| (("MetadataVersion", (*name).to_owned()), *level)));
    // Wildcards and placeholders are Kafka's alone: Weir never sends them as values.
    theirs.retain(|(of, name), _| {
        !(name == "NONE" && *of == "Errors")
            && (*of == "Errors" || !["UNKNOWN", "ANY", "MATCH"].contains(&name.as_str()))
    });
    assert_eq!(ours, theirs);
    for (code, name) in ERROR_NAMES {
        if disposition(*code) == Disposition::Retry {
            // Kafka calls this one permanent, although it passes when the reassignment ends.
            assert!(retriable[code] || *code == 60, "{name} is not retriable for Kafka");
        }
    }
}
