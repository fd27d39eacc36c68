//! Data contracts, held to the schema of the Open Data Contract Standard.

use jsonschema::Validator;
use serde_json::Value;
use weir_e2e::lab::build::odcs_schema;
use weir_e2e::lab::paths::Paths;

/// A contract in YAML, which must be valid.
pub fn valid(contract: &str) -> Value {
    let path = odcs_schema(&Paths::find().unwrap());
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator: Validator = jsonschema::validator_for(&schema).unwrap();
    let document: Value = serde_yaml::from_str(contract).unwrap();
    let faults: Vec<_> = validator.iter_errors(&document).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?}\n{contract}");
    // A schema that takes anything would prove nothing.
    let mut broken = document.clone();
    broken["apiVersion"] = "v0".into();
    assert!(!validator.is_valid(&broken));
    document
}
