//! Where topics are: from which record on a topic is copied, and how far the copy is behind.

use std::collections::BTreeSet;

use crate::api::{History, HistoryStart};
use crate::controllers::context::Context;
use crate::controllers::readers::{Readers, offsets, partitions};
use crate::domain::replication::flow::Positions;
use crate::ports::{Disposition, KafkaAdmin, KafkaError, OffsetSpec};

/// Connections to clusters, most of them sources.
#[derive(Default)]
pub struct Sources(Readers);

impl Sources {
    /// One past the last offset of each partition of `topics`.
    ///
    /// # Errors
    /// The source does not answer.
    pub async fn ends(
        &mut self,
        context: &Context,
        cluster: &str,
        topics: &BTreeSet<String>,
    ) -> Result<Positions, KafkaError> {
        self.ask(context, cluster, topics, OffsetSpec::Latest).await
    }

    /// Those of `topics` that are there.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn existing(
        &mut self,
        context: &Context,
        cluster: &str,
        topics: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, KafkaError> {
        let found = partitions(self.0.of(context, cluster).await?, topics).await;
        if found.is_err() {
            self.0.forget(cluster);
        }
        Ok(found?.into_iter().map(|(topic, _)| topic).collect())
    }

    /// What has to count as copied of each partition of `topics`, so that the copy begins where `history` says. A partition that is
    /// not named is copied from its beginning.
    ///
    /// # Errors
    /// The source does not answer.
    pub async fn first(
        &mut self,
        context: &Context,
        cluster: &str,
        topics: &BTreeSet<String>,
        history: &History,
    ) -> Result<Positions, KafkaError> {
        if history.from == HistoryStart::All {
            return Ok(Positions::new());
        }
        let ends = self.ends(context, cluster, topics).await?;
        let begins = match history.since.as_ref().filter(|_| history.from == HistoryStart::Since) {
            Some(since) => {
                let at = OffsetSpec::Timestamp(since.0.as_millisecond());
                let mut found = self.ask(context, cluster, topics, at).await?;
                // Nothing is so young.
                for (at, offset) in found.iter_mut().filter(|(_, offset)| **offset < 0) {
                    *offset = ends.get(at).copied().unwrap_or_default();
                }
                found
            }
            None => ends,
        };
        Ok(begins.into_iter().filter(|(_, begin)| *begin > 0).map(|(at, begin)| (at, begin - 1)).collect())
    }

    async fn ask(
        &mut self,
        context: &Context,
        cluster: &str,
        topics: &BTreeSet<String>,
        what: OffsetSpec,
    ) -> Result<Positions, KafkaError> {
        let asked = positions(self.0.of(context, cluster).await?, topics, what).await;
        if asked.is_err() {
            self.0.forget(cluster);
        }
        asked
    }
}

async fn positions(
    admin: &dyn KafkaAdmin,
    topics: &BTreeSet<String>,
    what: OffsetSpec,
) -> Result<Positions, KafkaError> {
    let all = partitions(admin, topics).await?;
    // A partition without a position is copied from its beginning: none may be missing.
    if let Some(missing) = topics.iter().find(|topic| !all.iter().any(|(there, _)| there == *topic)) {
        let message = format!("topic {missing} is not there");
        return Err(KafkaError { code: None, message, disposition: Disposition::Retry });
    }
    let found = offsets(admin, &all, what).await?;
    all.into_iter().zip(found).map(|(at, offset)| Ok((at, offset?))).collect()
}
