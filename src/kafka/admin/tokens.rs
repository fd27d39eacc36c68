//! Delegation tokens (KIP-48).

use kafka_protocol::messages::DescribeDelegationTokenRequest;

use crate::kafka::batch::reading;
use crate::kafka::cluster::{Cluster, To};
use crate::kafka::codes;
use crate::ports::KafkaError;

/// Whether the brokers issue them; `None` where this connection is not told.
pub(in crate::kafka) async fn offered(cluster: &Cluster) -> Result<Option<bool>, KafkaError> {
    // Of no owner: whether anybody may ask is all that is asked.
    let request = DescribeDelegationTokenRequest::default().with_owners(Some(Vec::new()));
    let asked = reading(|| async { cluster.send(To::Any, &request).await }).await;
    match asked {
        // Not every broker knows the question.
        Err(error) if error.code == Some(codes::UNSUPPORTED_VERSION) => Ok(None),
        answer => Ok(match answer?.error_code {
            codes::NONE => Some(true),
            codes::DELEGATION_TOKEN_AUTH_DISABLED => Some(false),
            _ => None,
        }),
    }
}
