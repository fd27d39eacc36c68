//! The data contract of a share with a partner: an Open Data Contract Standard document, v3.1.0 (bitol.io), of what is agreed and of
//! what is so. Where it is read stands in it once it may be read.

use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::exchange::Terms;
use super::names::{ObjectKey, link_prefix, mirror_prefix};
use crate::api::{DataProduct, ExternalShare, HistoryStart, Partner, Pattern, SharePhase, SharedWith, Stream};

/// Which version of the standard it is.
pub const STANDARD: &str = "v3.1.0";

const DAY_MS: i64 = 86_400_000;

/// The contract of `share` with `partner`; `products` are those of the share's namespace.
pub fn contract(share: &ExternalShare, partner: &Partner, products: &[&DataProduct]) -> Value {
    let terms = Terms::of(share, partner, products);
    let partners = share.status.iter().flat_map(|s| &s.partners);
    let state = partners.into_iter().find(|p| p.name == partner.name_any());
    let named: Vec<_> =
        terms.products.iter().filter_map(|o| products.iter().find(|p| p.name_any() == o.name).copied()).collect();
    let key = ObjectKey::new(share.namespace().unwrap_or_default(), share.name_any());
    let prefixes = match terms.pattern {
        Pattern::Copy => vec![mirror_prefix(&key), link_prefix(&terms.share)],
        Pattern::Direct => vec![String::new()],
    };
    let streams: Vec<_> = terms
        .products
        .iter()
        .zip(&named)
        .flat_map(|(offered, product)| {
            let streams = product.spec.streams.iter().filter(|s| offered.streams.contains(&s.name));
            streams.map(|stream| Shown::of(product, stream, &prefixes, state)).collect::<Vec<_>>()
        })
        .collect();
    let mut document = json!({
        "apiVersion": STANDARD,
        "kind": "DataContract",
        "id": terms.share,
        "name": terms.name,
        "version": terms.hash()[..12],
        "status": status(state),
        "tenant": terms.organisation,
        "description": {
            "purpose": described(&named),
            "usage": terms.purpose.as_ref().map_or_else(|| "no purpose is named".into(), |p| format!("for {p}")),
            "limitations": limitations(&terms),
        },
        "schema": streams.iter().map(Shown::schema).collect::<Vec<_>>(),
        "roles": [{"role": "reader", "access": "read", "description": format!("by {:?}", terms.credentials)}],
        "slaProperties": promises(&terms, &streams),
        "customProperties": custom(&terms, state),
    });
    let mut set = |key: &str, value: Option<Value>| {
        if let (Some(value), Some(fields)) = (value, document.as_object_mut()) {
            fields.insert(key.to_owned(), value);
        }
    };
    let first = named.first();
    set("dataProduct", first.filter(|_| named.len() == 1).map(|p| json!(p.name_any())));
    set("domain", first.and_then(|p| p.spec.domain.as_ref()).map(|domain| json!(domain)));
    set("team", team(&named));
    set("servers", servers(state));
    set("contractCreatedTs", share.creation_timestamp().map(|at| json!(at.0.to_string())));
    document
}

/// A stream as the contract has it.
struct Shown<'a> {
    product: &'a DataProduct,
    stream: &'a Stream,
    /// Its topic, once the partner may read it.
    topic: Option<String>,
}

impl<'a> Shown<'a> {
    /// `prefixes` are those that its topic may have before the stream's.
    fn of(product: &'a DataProduct, stream: &'a Stream, prefixes: &[String], state: Option<&SharedWith>) -> Self {
        let known = product.status.iter().flat_map(|s| &s.streams).find(|s| s.name == stream.name);
        let mut topics = known.iter().flat_map(|s| prefixes.iter().map(|prefix| format!("{prefix}{}", s.topic)));
        let given = |topic: &String| state.is_some_and(|s| s.topics.contains(topic));
        Self { product, stream, topic: topics.find(given) }
    }

    fn name(&self) -> String {
        format!("{}.{}", self.product.name_any(), self.stream.name)
    }

    fn schema(&self) -> Value {
        let mut schema = json!({
            "name": self.name(),
            "logicalType": "object",
            "physicalType": "topic",
            "customProperties": [{"property": "classification", "value": self.product.spec.classification}],
        });
        if let (Some(topic), Some(fields)) = (&self.topic, schema.as_object_mut()) {
            fields.insert("physicalName".into(), json!(topic));
        }
        schema
    }
}

/// Where it stands, in a word of the standard's.
fn status(state: Option<&SharedWith>) -> &'static str {
    use SharePhase::{Active, Expired, Provisioning, Rejected, Revoked, Revoking, Suspended};
    match state.map(|s| s.phase) {
        Some(Active | Provisioning | Suspended) => "active",
        Some(Expired | Rejected | Revoked | Revoking) => "retired",
        _ => "proposed",
    }
}

fn described(products: &[&DataProduct]) -> String {
    let each = products.iter().map(|p| match &p.spec.description {
        Some(text) => format!("{}: {text}", p.name_any()),
        None => p.name_any(),
    });
    each.collect::<Vec<_>>().join("; ")
}

fn limitations(terms: &Terms) -> String {
    let how = match (terms.pattern, &terms.history) {
        (Pattern::Direct, _) => "read where it is written".to_owned(),
        (Pattern::Copy, Some(history)) => match (&history.from, &history.since) {
            (HistoryStart::Since, Some(since)) => format!("a copy of what was written since {}", since.0),
            (HistoryStart::All, _) => "a copy of all that is there".into(),
            _ => "a copy of what is written from the agreement on".into(),
        },
        (Pattern::Copy, None) => "a copy".into(),
    };
    let quotas: Vec<_> = terms.quotas.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if quotas.is_empty() { how } else { format!("{how}; on each broker at most {}", quotas.join(", ")) }
}

/// From when until when, and for how long records stay.
fn promises(terms: &Terms, streams: &[Shown<'_>]) -> Vec<Value> {
    let date = |property: &str, at: jiff::Timestamp| json!({"property": property, "value": at.to_string()});
    let begin = terms.not_before.map(|at| date("generalAvailability", at));
    let retention = |shown: &Shown<'_>| {
        let ms: i64 = shown.stream.config.get("retention.ms")?.parse().ok().filter(|ms| *ms > 0)?;
        let (value, unit) = if ms % DAY_MS == 0 { (ms / DAY_MS, "d") } else { (ms, "ms") };
        Some(json!({"property": "retention", "value": value, "unit": unit, "element": shown.name()}))
    };
    let end = date("endOfLife", terms.not_after);
    begin.into_iter().chain([end]).chain(streams.iter().filter_map(retention)).collect()
}

/// The team that answers for the products, where it is one.
fn team(products: &[&DataProduct]) -> Option<Value> {
    let owners: Vec<_> = products.iter().map(|p| p.spec.owner.as_ref()).collect::<Option<_>>()?;
    let first = owners.first().filter(|first| owners.iter().all(|o| o == *first))?;
    let contact = first.contact.as_ref().map(|contact| json!({"username": contact, "role": "owner"}));
    Some(json!({"name": first.team, "members": contact.into_iter().collect::<Vec<_>>()}))
}

fn servers(state: Option<&SharedWith>) -> Option<Value> {
    let state = state.filter(|s| !s.topics.is_empty() && !s.bootstrap_servers.is_empty())?;
    Some(json!([{"server": "kafka", "type": "kafka", "host": state.bootstrap_servers.join(",")}]))
}

fn custom(terms: &Terms, state: Option<&SharedWith>) -> Vec<Value> {
    let mut all = Map::from_iter([("termsHash".to_owned(), json!(terms.hash()))]);
    if let Some(state) = state {
        all.insert("phase".into(), json!(state.phase));
        all.extend(state.group_prefix.as_ref().map(|prefix| ("consumerGroupPrefix".to_owned(), json!(prefix))));
    }
    all.into_iter().map(|(property, value)| json!({"property": property, "value": value})).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::contract;

    fn of(status: Value) -> Value {
        let share = json!({"metadata": {"name": "out", "namespace": "payments", "uid": "s"}, "spec": {
            "products": [{"name": "orders", "streams": ["placed"]}], "partnerRefs": [{"name": "acme"}], "pattern": "Copy",
            "destination": {"clusterRef": {"name": "shared"}}, "validity": {"notAfter": "2026-12-01T00:00:00Z"},
            "purpose": "audit", "quotas": {"consumerByteRate": 1024}}, "status": status});
        let partner = json!({"metadata": {"name": "acme", "uid": "p"}, "spec": {"organisation": "Acme"}});
        let product = json!({"metadata": {"name": "orders", "namespace": "payments"}, "spec": {
            "clusterRef": {"name": "main"}, "owner": {"team": "Payments", "contact": "payments@example.org"},
            "domain": "sales", "streams": [{"name": "placed", "config": {"retention.ms": "604800000"}}, {"name": "paid"}]},
            "status": {"streams": [{"name": "placed", "topic": "payments.orders.placed"}]}});
        let product = serde_json::from_value(product).unwrap();
        contract(&serde_json::from_value(share).unwrap(), &serde_json::from_value(partner).unwrap(), &[&product])
    }

    fn partner(phase: &str, topics: &[&str]) -> Value {
        json!({"partners": [{"name": "acme", "phase": phase, "reason": "", "message": "", "groupPrefix": "~xs.1.",
            "bootstrapServers": ["s:9092"], "topics": topics}]})
    }

    #[test]
    fn what_is_offered_says_nothing_of_where_it_is() {
        let document = of(partner("Invited", &[]));
        assert_eq!((&document["status"], &document["tenant"]), (&json!("proposed"), &json!("Acme")));
        assert_eq!(document["schema"].as_array().map(Vec::len), Some(1), "{document:#}");
        assert_eq!((&document["servers"], &document["schema"][0]["physicalName"]), (&Value::Null, &Value::Null));
        assert_eq!(
            document["slaProperties"][1],
            json!({
            "property": "retention", "value": 7, "unit": "d", "element": "orders.placed"})
        );
        assert_eq!(document["team"]["members"][0]["username"], "payments@example.org");
        assert_eq!(of(Value::Null)["status"], "proposed");
    }

    #[test]
    fn what_may_be_read_is_named_and_what_is_over_is_retired() {
        let topic = "payments.out.payments.orders.placed";
        let document = of(partner("Active", &[topic]));
        assert_eq!((&document["status"], &document["schema"][0]["physicalName"]), (&json!("active"), &json!(topic)));
        assert_eq!(document["servers"][0]["host"], "s:9092");
        let over = of(partner("Revoked", &[]));
        assert_eq!((&over["status"], &over["servers"]), (&json!("retired"), &Value::Null));
        assert_eq!(over["version"], document["version"], "the terms are the same");
    }
}
