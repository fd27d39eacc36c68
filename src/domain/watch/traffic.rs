//! How many bytes a second principals fetch and produce: the rates that a broker's quotas go by
//! (`kafka.server:type={Fetch,Produce},user=...`, attribute `byte-rate`; KIP-13), from what an exporter makes of them in the text format of
//! Prometheus (<https://prometheus.io/docs/instrumenting/exposition_formats>).
//!
//! A broker counts the bytes of each answer and of each request, also of those that hold no record and of those that it refuses.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use percent_encoding::percent_decode_str;

/// Bytes, or bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Of answers to `Fetch`.
    pub fetched: f64,
    /// Of requests to `Produce`.
    pub produced: f64,
}

impl Traffic {
    /// Of fetching as far as `may_read`, of producing as far as `may_write`.
    pub fn within(self, may_read: bool, may_write: bool) -> Self {
        let only = |rate: f64, may: bool| if may { rate } else { 0.0 };
        Self { fetched: only(self.fetched, may_read), produced: only(self.produced, may_write) }
    }

    /// As many bytes a second, for so many seconds.
    pub fn times(self, seconds: f64) -> Self {
        Self { fetched: self.fetched * seconds, produced: self.produced * seconds }
    }

    /// Whether there is none.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl Add for Traffic {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self { fetched: self.fetched + more.fetched, produced: self.produced + more.produced }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        *self = *self + more;
    }
}

impl Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// By principal, without `User:`, in bytes a second.
pub type Rates = BTreeMap<String, Traffic>;

/// The rates that one broker's exporter tells. `None` where it tells nothing of such quotas, as their `queue-size`, which is there also
/// where nobody has fetched yet: then it exports something else.
///
/// Names are those that exporters give by themselves, in any case: `kafka_server_Fetch_byte_rate{user="app"}`. Users are as Kafka
/// writes them there, percent-encoded. Rates of clients that no user is told of belong to nobody.
pub fn rates(exposition: &str) -> Option<Rates> {
    let mut rates = None;
    for line in exposition.lines().filter(|line| !line.starts_with('#')) {
        let Some(sample) = Sample::of(line) else { continue };
        let name = sample.name.to_ascii_lowercase();
        if !["kafka_server_fetch_", "kafka_server_produce_"].iter().any(|start| name.starts_with(start)) {
            continue;
        }
        let rates: &mut Rates = rates.get_or_insert_default();
        let rate = if sample.value.is_finite() { sample.value.max(0.0) } else { 0.0 };
        let traffic = match name.as_str() {
            "kafka_server_fetch_byte_rate" => Traffic { fetched: rate, produced: 0.0 },
            "kafka_server_produce_byte_rate" => Traffic { fetched: 0.0, produced: rate },
            _ => continue,
        };
        if let Some(user) = sample.labels.get("user").filter(|user| !user.is_empty()) {
            *rates.entry(percent_decode_str(user).decode_utf8_lossy().into_owned()).or_default() += traffic;
        }
    }
    rates
}

/// One sample: `name{label="value",...} 1.5`, and a time that is not looked at.
struct Sample<'a> {
    name: &'a str,
    labels: BTreeMap<&'a str, String>,
    value: f64,
}

impl<'a> Sample<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (name, mut rest) = line.split_at(line.find(['{', ' ', '\t'])?);
        let mut labels = BTreeMap::new();
        if let Some(mut inside) = rest.strip_prefix('{') {
            loop {
                inside = inside.trim_start_matches([',', ' ']);
                if let Some(after) = inside.strip_prefix('}') {
                    rest = after;
                    break;
                }
                let (label, quoted) = inside.split_once("=\"")?;
                let (value, after) = unquoted(quoted)?;
                labels.insert(label.trim(), value);
                inside = after;
            }
        }
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self { name, labels, value })
    }
}

/// A label's value, up to the quote that ends it, and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Traffic, rates};

    #[test]
    fn rates_of_a_user_are_summed_up_whatever_it_is_called() {
        let told = rates(
            "# HELP kafka_server_Fetch_byte_rate Tracking byte-rate\n\
             # TYPE kafka_server_Fetch_byte_rate untyped\n\
             kafka_server_Fetch_byte_rate{user=\"app\",client_id=\"a\",} 100.5\n\
             kafka_server_Fetch_byte_rate{user=\"app\",client_id=\"b\"} 2.0 1700000000000\n\
             kafka_server_fetch_byte_rate{client_id=\"a, \\\"b\\\" = }\\\\\", user=\"CN%3Dapp%2CO%3Dx\"} 1e3\n\
             kafka_server_produce_byte_rate{user=\"app\"} 7\n\
             kafka_server_Produce_byte_rate{user=\"idle\"} NaN\n\
             kafka_server_Produce_byte_rate{user=\"odd\"} -3\n\
             kafka_server_Produce_byte_rate{client_id=\"x\"} 5\n\
             kafka_server_Produce_throttle_time{user=\"app\"} 9\n\
             kafka_server_Fetch_byte_rate{user=\"cut off\n\
             up 1\n",
        )
        .unwrap();
        let of = |user: &str| told[user];
        assert_eq!(of("app"), Traffic { fetched: 102.5, produced: 7.0 });
        assert_eq!(of("CN=app,O=x"), Traffic { fetched: 1000.0, produced: 0.0 });
        assert!(of("idle").is_none() && of("odd").is_none());
        assert_eq!(told.len(), 4);
    }

    #[test]
    fn an_exporter_that_tells_of_no_rates_is_no_proof() {
        assert_eq!(rates(""), None);
        assert_eq!(rates("<html>login</html>"), None);
        assert_eq!(rates("jvm_threads 12\nkafka_server_replicafetchermanager_value 1"), None);
        assert_eq!(rates("kafka_server_fetch_queue_size 0.0").map(|r| r.len()), Some(0), "nobody fetched yet");
        assert_eq!(rates("kafka_server_Fetch_byte_rate{client_id=\"x\"} 5").map(|r| r.len()), Some(0));
    }

    proptest! {
        #[test]
        fn whatever_an_exporter_says_is_read(text in "(kafka_server_fetch_byte_rate|[{}=\",\\\\ \nau0-9.%é])*") {
            for traffic in rates(&text).into_iter().flat_map(|r| r.into_values()) {
                prop_assert!(traffic.fetched >= 0.0 && traffic.fetched.is_finite());
            }
        }
    }
}
