//! How many bytes a second principals fetch and produce: the rates that a broker's quotas go by
//! (`kafka.server:type={Fetch,Produce},user=...`, attribute `byte-rate`; KIP-13), from what an exporter makes of them in the text format of
//! Prometheus (<https://prometheus.io/docs/instrumenting/exposition_formats>).
//!
//! A broker counts the bytes of each answer and of each request, also of those that hold no record and of those that it refuses.

use std::collections::{BTreeMap, BTreeSet};
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

/// What one exporter tells, read line by line.
///
/// Names are those that exporters give by themselves, in any case: `kafka_server_Fetch_byte_rate{user="app"}`. Users are as Kafka
/// writes them there, percent-encoded.
#[derive(Debug, Default)]
pub struct Reading {
    rates: Rates,
    /// It tells something of such quotas, at least their `queue-size`, which is there also where nobody has fetched yet.
    is_of_quotas: bool,
    /// It tells of some user, whoever that is.
    knows_users: bool,
    /// It tells what some client does that no user is told of.
    knows_clients: bool,
    is_garbled: bool,
}

/// What exporters are read for.
const NAMES: [&str; 2] = ["kafka_server_fetch_", "kafka_server_produce_"];
/// The largest rate that is believed, so that sums of them are numbers.
const LARGEST: f64 = 1e15;

impl Reading {
    /// Takes a line. Of users, those that are `wanted` are kept.
    pub fn line(&mut self, line: &str, wanted: &BTreeSet<String>) {
        let starts = |name: &&str| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        let Some(name) = NAMES.into_iter().find(starts) else { return };
        self.is_of_quotas = true;
        let is_rate = line[name.len()..].get(.."byte_rate".len()).is_some_and(|r| r.eq_ignore_ascii_case("byte_rate"));
        if !is_rate {
            return;
        }
        let Some((labels, rate)) = sample(line) else {
            self.is_garbled = true;
            return;
        };
        let rate = if rate.is_nan() { 0.0 } else { rate.clamp(0.0, LARGEST) };
        let Some(user) = labels.get("user").filter(|user| !user.is_empty()) else {
            self.knows_clients |= rate > 0.0;
            return;
        };
        self.knows_users = true;
        let user = percent_decode_str(user).decode_utf8_lossy();
        if wanted.contains(&*user) {
            let traffic = match name {
                "kafka_server_fetch_" => Traffic { fetched: rate, produced: 0.0 },
                _ => Traffic { fetched: 0.0, produced: rate },
            };
            *self.rates.entry(user.into_owned()).or_default() += traffic;
        }
    }

    /// The rates, or why they are no proof of anything.
    ///
    /// # Errors
    /// In words.
    pub fn rates(self) -> Result<Told, &'static str> {
        if !self.is_of_quotas {
            return Err(
                "it tells nothing of kafka_server_fetch_* and kafka_server_produce_*, which is what quotas count",
            );
        }
        if self.is_garbled {
            return Err("a rate of it cannot be read");
        }
        if self.knows_clients {
            return Err(
                "it tells of clients without their users, as where there are quotas by client id: give users a default quota",
            );
        }
        Ok(Told { rates: self.rates, knows_users: self.knows_users })
    }
}

/// What one exporter told.
#[derive(Debug, PartialEq)]
pub struct Told {
    /// Of those that were wanted.
    pub rates: Rates,
    /// It tells of some user, whoever that is.
    pub knows_users: bool,
}

/// What the exporters of a cluster's brokers told together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// Of those that did tell.
    pub rates: Rates,
    /// Why it is not all, in sentences.
    pub faults: Vec<String>,
}

impl Heard {
    /// Of so many `brokers`. Who did not tell is named in the answer.
    pub fn of(answers: Vec<Result<Told, String>>, brokers: usize) -> Self {
        let mut heard = Self::default();
        let (mut telling, mut knows_users) = (0, false);
        for answer in answers {
            match answer {
                Ok(told) => {
                    telling += 1;
                    knows_users |= told.knows_users;
                    told.rates.into_iter().for_each(|(user, more)| *heard.rates.entry(user).or_default() += more);
                }
                Err(why) => heard.faults.push(why),
            }
        }
        heard.faults.sort();
        if heard.faults.is_empty() && telling < brokers {
            heard.faults.push(format!(
                "{telling} of {brokers} brokers tell: name each of them, or a headless Service with publishNotReadyAddresses"
            ));
        }
        if heard.faults.is_empty() && !knows_users {
            heard.faults.push("no user has a quota, and only where one has do brokers count by user".into());
        }
        heard
    }
}

/// Labels and value of a sample: `name{label="value",...} 1.5`, and a time that is not looked at.
fn sample(line: &str) -> Option<(BTreeMap<&str, String>, f64)> {
    let (_, mut rest) = line.split_at(line.find(['{', ' ', '\t'])?);
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
    Some((labels, rest.split_ascii_whitespace().next()?.parse().ok()?))
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
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{Heard, LARGEST, Reading, Told, Traffic};

    fn read(exposition: &str) -> Result<Told, &'static str> {
        let wanted: BTreeSet<_> = ["app", "CN=app,O=x", "idle", "odd", "a"].map(str::to_owned).into();
        let mut reading = Reading::default();
        exposition.lines().for_each(|line| reading.line(line, &wanted));
        reading.rates()
    }

    #[test]
    fn rates_of_a_user_are_summed_up_whatever_it_is_called() {
        let told = read(
            "# HELP kafka_server_Fetch_byte_rate Tracking byte-rate\n\
             # TYPE kafka_server_Fetch_byte_rate untyped\n\
             kafka_server_Fetch_byte_rate{user=\"app\",client_id=\"a\",} 100.5\n\
             kafka_server_Fetch_byte_rate{user=\"app\",client_id=\"b\"} 2.0 1700000000000\n\
             kafka_server_fetch_byte_rate{client_id=\"a, \\\"b\\\" = }\\\\\", user=\"CN%3Dapp%2CO%3Dx\"} 1e3\n\
             kafka_server_produce_byte_rate{user=\"app\"} 7\n\
             kafka_server_Produce_byte_rate{user=\"idle\"} NaN\n\
             kafka_server_Produce_byte_rate{user=\"odd\"} -3\n\
             kafka_server_Produce_byte_rate{user=\"somebody\"} 3\n\
             kafka_server_Produce_byte_rate{client_id=\"x\"} 0\n\
             kafka_server_Produce_throttle_time{user=\"app\"} 9\n\
             up 1\n",
        );
        let told = told.unwrap();
        let of = |user: &str| told.rates[user];
        assert_eq!(of("app"), Traffic { fetched: 102.5, produced: 7.0 });
        assert_eq!(of("CN=app,O=x"), Traffic { fetched: 1000.0, produced: 0.0 });
        assert!(of("idle").is_none() && of("odd").is_none());
        assert_eq!((told.rates.len(), told.knows_users), (4, true));
        let others = read("kafka_server_Fetch_byte_rate{user=\"somebody\"} 3").unwrap();
        assert_eq!((others.rates.len(), others.knows_users), (0, true));
        assert_eq!(read("kafka_server_fetch_queue_size 0.0").map(|t| t.knows_users), Ok(false), "nobody fetched yet");
    }

    #[test]
    fn an_exporter_that_does_not_tell_all_is_no_proof() {
        for exposition in ["", "<html>login</html>", "jvm_threads 12\nkafka_server_replicafetchermanager_value 1"] {
            assert!(read(exposition).is_err_and(|why| why.contains("nothing of kafka_server_fetch_*")), "{exposition}");
        }
        let of_user = "kafka_server_Fetch_byte_rate{user=\"app\"} 1\n";
        for (more, words) in [
            ("kafka_server_Fetch_byte_rate{client_id=\"x\"} 5", "without their users"),
            ("kafka_server_Fetch_byte_rate 5", "without their users"),
            ("kafka_server_Fetch_byte_rate{user=\"cut off", "cannot be read"),
            ("kafka_server_Fetch_byte_rate{user=\"app\"} much", "cannot be read"),
        ] {
            let told = read(&format!("{of_user}{more}"));
            assert!(told.as_ref().is_err_and(|why| why.contains(words)), "{more}: {told:?}");
        }
    }

    #[test]
    fn fewer_than_all_brokers_are_not_all() {
        let told = |line: &str| Ok(read(line).unwrap());
        let of_user = "kafka_server_Fetch_byte_rate{user=\"app\"} 1";
        let idle = "kafka_server_fetch_queue_size 0";
        let heard = Heard::of(vec![told(of_user), told(idle), told(of_user)], 3);
        assert_eq!((heard.rates["app"].fetched, heard.faults), (2.0, Vec::<String>::new()));
        for (answers, words) in [
            (vec![told(of_user), told(of_user)], "2 of 3 brokers tell"),
            (vec![told(idle), told(idle), told(idle)], "no user has a quota"),
            (vec![told(of_user), Err("away".into()), told(of_user)], "away"),
        ] {
            let heard = Heard::of(answers, 3);
            assert!(matches!(&heard.faults[..], [fault] if fault.contains(words)), "{words}: {heard:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_an_exporter_says_is_read(
            lines in prop::collection::vec("kafka_server_fetch_byte_rate\\{(user=\"a\")?[{}=\",\\\\ aé]{0,3}\\} [0-9.eE+-]{0,12}([0-9]{20})?", 0..8)
        ) {
            for traffic in read(&lines.join("\n")).into_iter().flat_map(|told| told.rates.into_values()) {
                prop_assert!((0.0..=8.0 * LARGEST).contains(&traffic.fetched), "{traffic:?}");
            }
        }
    }
}
