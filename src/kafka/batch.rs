//! Cuts batches into requests within the broker's limits, and tries again what certainly did not happen.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::sleep;

use crate::ports::{Disposition, KafkaError, PerItem};

/// How often a request goes out at most.
const ATTEMPTS: u32 = 3;

/// The limits of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// Items at most.
    pub(super) items: usize,
    /// Sum of the items' weights at most; a single item may weigh more.
    pub(super) weight: usize,
}

/// Positions of `items` by request: in order, each within `limit`, every position once.
pub(super) fn chunks<T>(items: &[T], limit: Limit, weight: impl Fn(&T) -> usize) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    let mut chunk = Vec::new();
    let mut sum = 0_usize;
    for (position, item) in items.iter().enumerate() {
        let heavy = sum.saturating_add(weight(item)) > limit.weight;
        if !chunk.is_empty() && (heavy || chunk.len() >= limit.items) {
            all.push(std::mem::take(&mut chunk));
            sum = 0;
        }
        chunk.push(position);
        sum = sum.saturating_add(weight(item));
    }
    if !chunk.is_empty() {
        all.push(chunk);
    }
    all
}

/// Sends `items` chunk by chunk: the controller works on one request of a broker at a time, so that parallel
/// requests would gain nothing. Results come in the order of the items. `send` returns one result an item, or one
/// failure for all; what failed so that it certainly did not happen is sent again, a few times.
pub(super) async fn in_chunks<'a, I, T>(
    items: &'a [I],
    chunks: Vec<Vec<usize>>,
    send: impl Fn(Vec<&'a I>) -> BoxFuture<'a, Result<PerItem<T>, KafkaError>>,
) -> PerItem<T> {
    let mut results: Vec<Option<Result<T, KafkaError>>> = items.iter().map(|_| None).collect();
    for chunk in chunks {
        let mut left = chunk;
        for attempt in 1.. {
            let sent = send(left.iter().map(|&i| &items[i]).collect()).await;
            let mut again = Vec::new();
            match sent {
                Ok(answers) => {
                    for (position, answer) in left.into_iter().zip(answers) {
                        if answer.as_ref().is_err_and(|e| e.disposition == Disposition::Retry) {
                            again.push(position);
                        }
                        results[position] = Some(answer);
                    }
                }
                Err(e) => {
                    for &position in &left {
                        results[position] = Some(Err(e.clone()));
                    }
                    if e.disposition == Disposition::Retry {
                        again = left;
                    }
                }
            }
            if again.is_empty() || attempt >= ATTEMPTS {
                break;
            }
            left = again;
            sleep(pause(attempt)).await;
        }
    }
    let missing = || Err(super::codes::unknown_outcome("the broker's answer leaves this item out"));
    results.into_iter().map(|result| result.unwrap_or_else(missing)).collect()
}

/// Runs a read, again after failures that may pass: reading twice harms nothing.
pub(super) async fn reading<T, F, Fut>(read: F) -> Result<T, KafkaError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, KafkaError>>,
{
    let mut attempt = 1;
    loop {
        match read().await {
            Err(e) if e.disposition != Disposition::Permanent && attempt < ATTEMPTS => {
                tracing::debug!(error = %e, attempt, "reading from Kafka again");
                sleep(pause(attempt)).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Kafka's `retry.backoff.ms` is 100, doubling.
fn pause(attempt: u32) -> Duration {
    Duration::from_millis(100) * 2_u32.saturating_pow(attempt - 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt as _;

    use super::{Limit, chunks, in_chunks, reading};
    use crate::kafka::codes::{permanent, retry, unknown_outcome};

    #[test]
    fn chunks_keep_order_and_limits() {
        let limit = Limit { items: 3, weight: 10 };
        assert_eq!(chunks(&[1, 1, 1, 1], limit, |w| *w), vec![vec![0, 1, 2], vec![3]]);
        assert_eq!(chunks(&[6, 5, 50, 1], limit, |w| *w), vec![vec![0], vec![1], vec![2], vec![3]]);
        assert!(chunks(&[], limit, |w: &usize| *w).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn every_item_is_in_exactly_one_chunk(weights in proptest::collection::vec(0_usize..20, 0..200)) {
            let limit = Limit { items: 7, weight: 30 };
            let cut = chunks(&weights, limit, |w| *w);
            let flat: Vec<usize> = cut.concat();
            proptest::prop_assert_eq!(flat, (0..weights.len()).collect::<Vec<_>>());
            for chunk in cut {
                proptest::prop_assert!(chunk.len() <= 7);
                proptest::prop_assert!(chunk.iter().map(|&i| weights[i]).sum::<usize>() <= 30);
            }
        }
    }

    #[tokio::test]
    async fn only_what_did_not_happen_is_sent_again() {
        let sent = Mutex::new(Vec::new());
        let items = [1, 2, 3];
        let results = in_chunks(&items, vec![vec![0, 1, 2]], |batch| {
            let batch: Vec<i32> = batch.into_iter().copied().collect();
            let first = sent.lock().unwrap().is_empty();
            sent.lock().unwrap().push(batch.clone());
            let answer = move |i: i32| match i {
                1 => Ok(i),
                2 if first => Err(retry("later")),
                2 => Ok(i),
                _ => Err(unknown_outcome("lost")),
            };
            async move { Ok(batch.into_iter().map(answer).collect()) }.boxed()
        })
        .await;
        assert_eq!(*sent.lock().unwrap(), vec![vec![1, 2, 3], vec![2]]);
        assert_eq!(results, vec![Ok(1), Ok(2), Err(unknown_outcome("lost"))]);
    }

    #[tokio::test]
    async fn a_chunk_that_fails_gives_its_error_to_each_of_its_items() {
        let items = [1, 2, 3];
        let results = in_chunks(&items, vec![vec![0, 1], vec![2]], |batch| {
            let fails = batch.len() == 2;
            async move { if fails { Err(permanent("no")) } else { Ok(vec![Ok(())]) } }.boxed()
        })
        .await;
        assert_eq!(results, vec![Err(permanent("no")), Err(permanent("no")), Ok(())]);
    }

    #[tokio::test]
    async fn reading_gives_up_after_a_few_attempts() {
        let count = Mutex::new(0);
        let result: Result<(), _> = reading(|| async {
            *count.lock().unwrap() += 1;
            Err(unknown_outcome("lost"))
        })
        .await;
        assert_eq!((result, *count.lock().unwrap()), (Err(unknown_outcome("lost")), 3));
    }
}
