//! What may be asked of Confluent's REST API, and what it may answer: `e2e/confluent/cluster-linking.yaml`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// See the module.
pub struct Contract(Value);

/// An operation, and the values of its path's parameters.
pub struct Operation<'a> {
    pub id: String,
    pub path: BTreeMap<String, String>,
    of: &'a Value,
}

impl Contract {
    pub fn read() -> Self {
        Self(serde_yaml::from_str(include_str!("../../../confluent/cluster-linking.yaml")).unwrap())
    }

    /// The operation that is asked for.
    pub fn operation(&self, method: &str, path: &str) -> Option<Operation<'_>> {
        let below = path.strip_prefix(self.0["servers"][0]["url"].as_str()?)?;
        let paths = self.0["paths"].as_object()?;
        let (of, path) = paths.iter().find_map(|(template, of)| Some((of, matches(template, below)?)))?;
        let of = of.get(method.to_lowercase())?;
        Some(Operation { id: of["operationId"].as_str()?.to_owned(), path, of })
    }

    /// What is wrong with a request.
    pub fn faults_of_request(
        &self,
        operation: &Operation<'_>,
        query: &BTreeMap<String, String>,
        body: &Value,
    ) -> Vec<String> {
        let known = operation.of["parameters"].as_array().cloned().unwrap_or_default();
        let name = |parameter: &Value| parameter["name"].as_str().unwrap_or_default().to_owned();
        let mut faults = Vec::new();
        for parameter in &known {
            match query.get(&name(parameter)) {
                Some(value) => faults.extend(self.faults(&parameter["schema"], &json!(value))),
                None if parameter["required"] == true => faults.push(format!("no parameter {}", name(parameter))),
                None => {}
            }
        }
        let strange = query.keys().filter(|key| !known.iter().any(|parameter| name(parameter) == **key));
        faults.extend(strange.map(|key| format!("there is no parameter {key}")));
        let schema = schema(&operation.of["requestBody"]);
        match (schema, body) {
            (None, Value::Null) => {}
            (None, _) => faults.push("no body is to be sent".into()),
            (Some(schema), body) => faults.extend(self.faults(schema, body)),
        }
        faults
    }

    /// What is wrong with an answer.
    pub fn faults_of_answer(&self, operation: &Operation<'_>, status: u16, body: &Value) -> Vec<String> {
        let responses = &operation.of["responses"];
        let response = match responses.get(status.to_string()) {
            Some(response) => response,
            None if status < 400 => return vec![format!("{status} is not answered to {}", operation.id)],
            None => &self.0["components"]["responses"]["Error"],
        };
        match schema(response) {
            Some(schema) => self.faults(schema, body),
            None if body.is_null() => Vec::new(),
            None => vec![format!("{} is answered without a body", operation.id)],
        }
    }

    fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let whole = json!({"allOf": [schema], "components": self.0["components"]});
        let validator = jsonschema::validator_for(&whole).unwrap();
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect()
    }
}

fn schema(of: &Value) -> Option<&Value> {
    of.get("content")?.get("application/json")?.get("schema")
}

/// The values of the parameters, if a path is of this template. A colon begins what is done with what stands before it.
fn matches(template: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let (wanted, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let mut values = BTreeMap::new();
    for (wanted, given) in (wanted.len() == given.len()).then(|| wanted.into_iter().zip(given))? {
        match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => drop(values.insert(name.to_owned(), decoded(given)?)),
            None if wanted == given => {}
            None => return None,
        }
    }
    Some(values)
}

/// Without percent-encoding (RFC 3986).
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}
