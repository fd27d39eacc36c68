//! SCRAM credentials (KIP-554). The broker learns a salted password, never the password; hence TLS.
//!
//! Kafka 4.3.1 can lose credentials (`ScramDelta.apply`): while it applies a batch of metadata records, a removal that
//! leaves a mechanism without users makes it forget what the rest of that batch sets. So a broker that starts from a
//! metadata log which has removals and no snapshot yet comes up without users, and stays so, while ACLs and quotas are
//! whole. It shows only when that broker itself is asked; setting the credentials again mends it, and a user of the
//! mechanism that is never removed (the operator's own) keeps running brokers safe.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::num::{NonZeroU32, NonZeroUsize};

use bytes::Bytes;
use futures::FutureExt as _;
use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::{AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest};

use super::in_order;
use crate::domain::secret::Secret;
use crate::kafka::api::text;
use crate::kafka::batch::{in_chunks, reading};
use crate::kafka::cluster::{Cluster, To};
use crate::kafka::codes::{self, retry};
use crate::kafka::sasl::scram::salted_password;
use crate::ports::{KafkaError, PerItem, ScramChange, ScramInfo, ScramMechanism};

/// Users in one request. Ten thousand make the controller fail over.
const USERS: usize = 500;
/// Bytes of salt: as many as Kafka's own tools take, and more.
const SALT: usize = 32;

/// Kafka's upper bound (KIP-84).
const MAX_ITERATIONS: u32 = 16_384;

/// The mechanism's code (KIP-554).
pub(in crate::kafka) const fn code(mechanism: ScramMechanism) -> i8 {
    match mechanism {
        ScramMechanism::Sha256 => 1,
        ScramMechanism::Sha512 => 2,
    }
}

const fn mechanism(code: i8) -> Option<ScramMechanism> {
    match code {
        1 => Some(ScramMechanism::Sha256),
        2 => Some(ScramMechanism::Sha512),
        _ => None,
    }
}

/// See [`crate::ports::KafkaAdmin::describe_scram`]. Users without credentials are absent.
pub(in crate::kafka) async fn describe(
    cluster: &Cluster,
    to: To,
    users: Option<&[String]>,
) -> Result<BTreeMap<String, Vec<ScramInfo>>, KafkaError> {
    // To the broker, no names means all names.
    if users.is_some_and(<[String]>::is_empty) {
        return Ok(BTreeMap::new());
    }
    let names = users.map(|users| users.iter().collect::<BTreeSet<_>>());
    let request = DescribeUserScramCredentialsRequest::default()
        .with_users(names.map(|users| users.into_iter().map(|u| UserName::default().with_name(text(u))).collect()));
    reading(|| async {
        let response = cluster.send(to, &request).await?;
        codes::check(response.error_code, response.error_message.as_deref())?;
        let mut found = BTreeMap::new();
        for result in &response.results {
            if result.error_code == codes::RESOURCE_NOT_FOUND {
                continue;
            }
            codes::check(result.error_code, result.error_message.as_deref())?;
            let info = |mechanism, iterations| ScramInfo { mechanism, iterations };
            let infos = result.credential_infos.iter();
            let infos = infos.filter_map(|c| mechanism(c.mechanism).map(|m| info(m, c.iterations))).collect();
            found.insert(result.user.to_string(), infos);
        }
        Ok(found)
    })
    .await
}

/// See [`crate::ports::KafkaAdmin::alter_scram`].
pub(in crate::kafka) async fn alter(cluster: &Cluster, changes: &[ScramChange]) -> PerItem<()> {
    in_chunks(changes, chunks_by_user(changes), |batch| {
        let batch: Vec<ScramChange> = batch.into_iter().cloned().collect();
        async move { send_alter(cluster, batch).await }.boxed()
    })
    .await
}

/// The broker takes one change a user and request: a second one waits for a later request.
fn chunks_by_user(changes: &[ScramChange]) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    let mut users = HashSet::new();
    let mut chunk = Vec::new();
    for (position, change) in changes.iter().enumerate() {
        if chunk.len() >= USERS || users.contains(user(change)) {
            all.push(std::mem::take(&mut chunk));
            users.clear();
        }
        users.insert(user(change));
        chunk.push(position);
    }
    if !chunk.is_empty() {
        all.push(chunk);
    }
    all
}

fn user(change: &ScramChange) -> &str {
    match change {
        ScramChange::Upsert { user, .. } | ScramChange::Delete { user, .. } => user,
    }
}

async fn send_alter(cluster: &Cluster, changes: Vec<ScramChange>) -> Result<PerItem<()>, KafkaError> {
    let names: Vec<String> = changes.iter().map(|change| user(change).to_owned()).collect();
    let deletes: HashSet<String> =
        changes.iter().filter(|c| matches!(c, ScramChange::Delete { .. })).map(|c| user(c).to_owned()).collect();
    // PBKDF2 takes a millisecond or more of a core for each.
    let request = tokio::task::spawn_blocking(move || request(&changes))
        .await
        .map_err(|_| retry("failed to derive SCRAM credentials: the runtime is shutting down"))??;
    let response = cluster.send(To::Any, &request).await?;
    let answers = response.results.iter().map(|result| {
        let gone = result.error_code == codes::RESOURCE_NOT_FOUND && deletes.contains(result.user.as_str());
        let outcome = if gone { Ok(()) } else { codes::check(result.error_code, result.error_message.as_deref()) };
        (result.user.to_string(), outcome)
    });
    Ok(in_order(names.into_iter(), answers))
}

fn request(changes: &[ScramChange]) -> Result<AlterUserScramCredentialsRequest, KafkaError> {
    let mut deletions = Vec::new();
    let mut sets = Vec::new();
    for change in changes {
        match change {
            ScramChange::Delete { user, mechanism } => deletions
                .push(ScramCredentialDeletion::default().with_name(text(user)).with_mechanism(code(*mechanism))),
            ScramChange::Upsert { user, mechanism, iterations, password } => {
                sets.push((user, *mechanism, *iterations, password));
            }
        }
    }
    // The work is the same for each, so it is shared out evenly over the cores.
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = sets.len().div_ceil(cores).max(1);
    let upsertions = std::thread::scope(|scope| {
        let derive = |part: &[Set<'_>]| part.iter().map(upsertion).collect::<Result<Vec<_>, _>>();
        let parts: Vec<_> = sets.chunks(share).map(|part| scope.spawn(move || derive(part))).collect();
        let lost = |_| Err(retry("failed to derive SCRAM credentials"));
        parts.into_iter().map(|part| part.join().unwrap_or_else(lost)).collect::<Result<Vec<_>, _>>()
    })?;
    let upsertions = upsertions.into_iter().flatten().collect();
    Ok(AlterUserScramCredentialsRequest::default().with_deletions(deletions).with_upsertions(upsertions))
}

/// User, mechanism, iterations, password.
type Set<'a> = (&'a String, ScramMechanism, i32, &'a Secret);

fn upsertion((user, mechanism, iterations, password): &Set<'_>) -> Result<ScramCredentialUpsertion, KafkaError> {
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(|e| retry(format!("failed to get random bytes: {e}")))?;
    // The broker refuses iterations out of its bounds, for this user alone: nothing is worth deriving then.
    let rounds = u32::try_from(*iterations).ok().filter(|n| *n <= MAX_ITERATIONS).and_then(NonZeroU32::new);
    let salted = salted_password(*mechanism, password, &salt, rounds.unwrap_or(NonZeroU32::MIN));
    Ok(ScramCredentialUpsertion::default()
        .with_name(text(user))
        .with_mechanism(code(*mechanism))
        .with_iterations(*iterations)
        .with_salt(Bytes::copy_from_slice(&salt))
        .with_salted_password(Bytes::copy_from_slice(&salted)))
}

#[cfg(test)]
mod tests {
    use super::{chunks_by_user, request};
    use std::num::NonZeroU32;

    use crate::domain::secret::Secret;
    use crate::kafka::sasl::scram::salted_password;
    use crate::ports::{ScramChange, ScramMechanism};

    fn upsert(user: &str) -> ScramChange {
        let (mechanism, iterations) = (ScramMechanism::Sha512, 4096);
        ScramChange::Upsert { user: user.into(), mechanism, iterations, password: Secret::new("pw") }
    }

    #[test]
    fn a_second_change_of_a_user_goes_into_a_later_request() {
        let delete = ScramChange::Delete { user: "a".into(), mechanism: ScramMechanism::Sha256 };
        assert_eq!(chunks_by_user(&[upsert("a"), upsert("b"), delete, upsert("b")]), vec![vec![0, 1], vec![2, 3]]);
    }

    #[test]
    fn a_request_has_at_most_500_users() {
        let changes: Vec<_> = (0..1001).map(|i| upsert(&format!("u{i}"))).collect();
        assert_eq!(chunks_by_user(&changes).iter().map(Vec::len).collect::<Vec<_>>(), vec![500, 500, 1]);
    }

    #[test]
    fn what_is_sent_is_the_salted_password_under_a_fresh_salt() {
        let sent = request(&[upsert("a"), upsert("b")]).unwrap().upsertions;
        assert_ne!(sent[0].salt, sent[1].salt);
        let rounds = NonZeroU32::new(4096).unwrap();
        let expected = salted_password(ScramMechanism::Sha512, &Secret::new("pw"), &sent[0].salt, rounds);
        assert_eq!(sent[0].salted_password.as_ref(), expected.as_slice());
    }
}
