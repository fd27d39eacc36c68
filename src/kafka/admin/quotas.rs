//! Client quotas of users (KIP-546). Entities with a client id, and defaults, are left alone.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};

use super::in_order;
use crate::kafka::api::text;
use crate::kafka::batch::{Limit, chunks, in_chunks, reading};
use crate::kafka::cluster::{Cluster, To};
use crate::kafka::codes;
use crate::ports::{KafkaError, PerItem, QuotaDelta, Quotas};

/// The entity type of user principals.
const USER: &str = "user";
/// Matches entities that have the type, whatever their name.
const MATCH_SPECIFIED: i8 = 2;
/// A key is a record, and the controller takes 10,000 records at once.
const ALTER: Limit = Limit { items: 1000, weight: 4000 };

/// See [`crate::ports::KafkaAdmin::describe_user_quotas`].
pub(in crate::kafka) async fn describe(cluster: &Cluster, to: To) -> Result<BTreeMap<String, Quotas>, KafkaError> {
    let component =
        ComponentData::default().with_entity_type(text(USER)).with_match_type(MATCH_SPECIFIED).with_match(None);
    // Strict: entities of a user together with a client id are other entities.
    let request = DescribeClientQuotasRequest::default().with_components(vec![component]).with_strict(true);
    reading(|| async {
        let response = cluster.send(to, &request).await?;
        codes::check(response.error_code, response.error_message.as_deref())?;
        let mut found = BTreeMap::new();
        for entry in response.entries.unwrap_or_default() {
            let [entity] = entry.entity.as_slice() else { continue };
            // Without a name it is the default of all users.
            let Some(name) = entity.entity_name.as_ref().filter(|_| entity.entity_type.as_str() == USER) else {
                continue;
            };
            let values = entry.values.iter().map(|v| (v.key.to_string(), v.value)).collect();
            found.insert(name.to_string(), values);
        }
        Ok(found)
    })
    .await
}

/// See [`crate::ports::KafkaAdmin::alter_user_quotas`].
pub(in crate::kafka) async fn alter(cluster: &Cluster, deltas: &[QuotaDelta]) -> PerItem<()> {
    let cut = chunks(deltas, ALTER, |delta| delta.changes.len());
    in_chunks(deltas, cut, |batch| async move { send_alter(cluster, &batch).await }.boxed()).await
}

async fn send_alter(cluster: &Cluster, deltas: &[&QuotaDelta]) -> Result<PerItem<()>, KafkaError> {
    let op = |(key, value): (&String, &Option<f64>)| {
        OpData::default().with_key(text(key)).with_value(value.unwrap_or_default()).with_remove(value.is_none())
    };
    let entry = |delta: &&QuotaDelta| {
        let user = EntityData::default().with_entity_type(text(USER)).with_entity_name(Some(text(&delta.user)));
        EntryData::default().with_entity(vec![user]).with_ops(delta.changes.iter().map(op).collect())
    };
    let request = AlterClientQuotasRequest::default().with_entries(deltas.iter().map(entry).collect());
    let response = cluster.send(To::Any, &request).await?;
    let answers = response.entries.iter().map(|entry| {
        let name = entry.entity.first().and_then(|entity| entity.entity_name.as_deref()).unwrap_or_default();
        (name, codes::check(entry.error_code, entry.error_message.as_deref()))
    });
    Ok(in_order(deltas.iter().map(|delta| delta.user.as_str()), answers))
}
