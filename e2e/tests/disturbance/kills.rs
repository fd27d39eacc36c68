//! An operator that is killed again and again, at moments that a seed chooses, while people change what they want.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::api::{DataProduct, RoleBinding, StreamClient, StreamRole};
use weir::domain::ledger::ClientRecord;
use weir::domain::rotation::ROTATE;

use crate::harness::brokers::{groups, reads};
use crate::harness::manifests::{account, binding, client_with, product_with, role};
use crate::harness::operator::Operator;
use crate::harness::{Harness, Tenant, condition, trail, until};
use crate::{binding_of_robot, brokers_show, robots};

/// Of so many subjects, the lower half are ServiceAccounts, the others clients that come and go with their binding.
const SUBJECTS: usize = 8;
/// A client is asked to rotate so often at most: more versions in a short time would wait for their turn.
const ROTATIONS: usize = 3;
/// Of so many kills one is a stop.
const STOPPED_EVERY: u64 = 20;
/// How long it may take after the last kill: what a killed process sent is waited for, and versions that it lost are replaced.
pub const AFTERWARDS: Duration = Duration::from_mins(4);
/// The retention of the product at first, in milliseconds. It only grows: less would want a person's word.
const RETENTION: u64 = 600_000;

/// The same numbers for the same seed (splitmix64).
pub struct Seeded(pub u64);

impl Seeded {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// A number that the environment may set.
pub fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// What people want, and the namespaces in which they say so.
struct Wishes {
    owner: Tenant,
    consumer: Tenant,
    bound: BTreeSet<usize>,
    /// Whether the role gives both streams, or one.
    both: bool,
    retention: u64,
    /// Clients that were asked to rotate, by which value, and how often.
    rotate: BTreeMap<usize, (String, usize)>,
}

impl Wishes {
    async fn first(h: &Harness) -> Self {
        let (owner, consumer) = (h.tenant("owner").await, h.tenant("consumer").await);
        let wishes = Self {
            owner,
            consumer,
            bound: BTreeSet::new(),
            both: false,
            retention: RETENTION,
            rotate: BTreeMap::new(),
        };
        wishes.say_product().await;
        wishes.say_role().await;
        for n in 0..SUBJECTS / 2 {
            wishes.consumer.apply(&account(&name(n))).await;
        }
        wishes.owner.ready::<DataProduct>("orders").await;
        wishes
    }

    async fn say_product(&self) {
        let stream = |name: &str, config: &str| format!("{{name: {name}, partitions: 1, replicas: 3{config}}}");
        let placed = stream("placed", &format!(", config: {{retention.ms: '{}'}}", self.retention));
        let streams = format!("streams: [{placed}, {}]", stream("refunded", ""));
        self.owner.apply(&product_with("orders", &streams)).await;
    }

    fn streams(&self) -> &'static [&'static str] {
        if self.both { &["placed", "refunded"] } else { &["placed"] }
    }

    async fn say_role(&self) {
        self.owner.apply(&role("reader", "orders", self.streams(), "Read")).await;
    }

    /// Changes one thing, and says which.
    async fn change(&mut self, random: &mut Seeded) -> String {
        let (what, n) = (random.below(10), random.below(SUBJECTS as u64) as usize);
        match what {
            0 => {
                self.both = !self.both;
                self.say_role().await;
                format!("role gives {:?}", self.streams())
            }
            1 => {
                self.retention += 1000;
                self.say_product().await;
                format!("product keeps {}", self.retention)
            }
            2 | 3 => {
                let asked = |n: &usize| self.rotate.get(n).map_or(0, |(_, times)| *times);
                let may = |n: &usize| is_client(*n) && asked(n) < ROTATIONS;
                let clients: Vec<_> = self.bound.iter().copied().filter(may).collect();
                let Some(n) = clients.get(n % clients.len().max(1)).copied() else { return "-".into() };
                let times = asked(&n) + 1;
                let value = random.below(u64::MAX).to_string();
                let rotate = json!({"metadata": {"annotations": {ROTATE: value}}});
                self.consumer.patch::<StreamClient>(&name(n), rotate).await;
                self.rotate.insert(n, (value, times));
                format!("{} rotates", name(n))
            }
            _ if self.bound.remove(&n) => {
                self.consumer.delete::<RoleBinding>(&name(n)).await;
                if is_client(n) {
                    self.consumer.delete::<StreamClient>(&name(n)).await;
                    self.rotate.remove(&n);
                }
                format!("-{}", name(n))
            }
            _ if self.is_going(&name(n)).await => format!("{} is still going", name(n)),
            _ => {
                if is_client(n) {
                    let brief = "type: ScramSha512, rotation: {every: 24h, overlap: 1s}";
                    self.consumer.apply(&client_with(&name(n), brief)).await;
                    self.consumer.apply(&binding(&name(n), &self.owner.name, "reader", &name(n))).await;
                } else {
                    self.consumer.apply(&binding_of_robot(&self.owner, n)).await;
                }
                self.bound.insert(n);
                format!("+{}", name(n))
            }
        }
    }

    /// One that is going cannot be made anew.
    async fn is_going(&self, name: &str) -> bool {
        self.consumer.get::<RoleBinding>(name).await.is_some()
            || self.consumer.get::<StreamClient>(name).await.is_some()
    }

    /// How many objects are not yet as people want them.
    async fn under_way(&self) -> usize {
        let products = self.owner.all::<DataProduct>().await;
        let roles = self.owner.all::<StreamRole>().await;
        let bindings = self.consumer.all::<RoleBinding>().await;
        let clients = self.consumer.all::<StreamClient>().await;
        let rotating = clients.iter().filter(|c| is_done(c) && versions(c) != 1).count();
        let all = [products, roles, bindings, clients];
        all.iter().flatten().filter(|object| !is_done(object)).count() + rotating
    }

    /// The clients' principals by their names, if the ledger has exactly the clients that live, each rotated when that was last
    /// asked, and with nothing left of the versions before.
    async fn written_down(&self, h: &Harness) -> Result<BTreeMap<String, String>, String> {
        let ledger = h.brokers.ledger().await?;
        let ours: Vec<_> = ledger.clients.values().filter(|c| c.namespace == self.consumer.name).collect();
        let known: BTreeMap<_, _> = ours.iter().map(|c| (c.name.clone(), c.rotate.clone())).collect();
        let clients = self.bound.iter().filter(|n| is_client(**n));
        let rotate = |n| self.rotate.get(n).map(|(value, _)| value.clone());
        let wanted: BTreeMap<_, _> = clients.map(|n| (name(*n), rotate(n))).collect();
        let principal = |c: &&ClientRecord| match c.versions.as_slice() {
            [only] if only.published && !only.retired => Some((c.name.clone(), only.principal.clone())),
            _ => None,
        };
        match ours.iter().map(principal).collect() {
            Some(principals) if known == wanted => Ok(principals),
            _ => Err(format!("{ours:#?}, not {wanted:?}")),
        }
    }

    /// Waits until the brokers have exactly what is wanted, and every object says so.
    async fn come_true(&self, h: &Harness) {
        let (owner, consumer) = (&self.owner, &self.consumer);
        let clients =
            until(AFTERWARDS, &[&consumer.name], "the ledger has the clients that live", || self.written_down(h)).await;
        let users: BTreeSet<_> = clients.values().cloned().collect();
        let mut principals: BTreeMap<_, _> = clients.iter().map(|(name, p)| (p.clone(), name.clone())).collect();
        principals.extend(robots(consumer, self.bound.iter().copied().filter(|n| !is_client(*n))));
        for (name, principal) in &clients {
            let same = || async {
                let said = consumer.principal(name).await;
                if said == *principal { Ok(()) } else { Err(said) }
            };
            consumer.until("a client names its principal", same).await;
        }
        for &n in &self.bound {
            consumer.ready::<RoleBinding>(&name(n)).await;
        }
        let topic = |stream: &str| format!("{}.orders.{stream}", owner.name);
        let entries = |(principal, subject): (&String, &String)| {
            let mut entries = vec![groups(principal, &format!("{}.{subject}.", consumer.name))];
            entries.extend(self.streams().iter().map(|stream| reads(principal, &topic(stream))));
            entries
        };
        brokers_show(h, consumer, &principals.iter().flat_map(entries).collect()).await;
        let exact = || async {
            let known = h.brokers.users(&consumer.name).await?;
            let canaries = h.brokers.users("~weir-canary").await?;
            let exact = known == users && canaries.len() == 1;
            if exact { Ok(()) } else { Err(format!("{known:?}, not {users:?}; canaries {canaries:?}")) }
        };
        consumer.until("the brokers have exactly the SCRAM users that live", exact).await;
        owner.ready::<DataProduct>("orders").await;
        let retention = h.brokers.topic_config(&topic("placed"), "retention.ms").await;
        assert_eq!(retention, Ok(self.retention.to_string()));
        let done = || async { if self.under_way().await == 0 { Ok(()) } else { Err("something is not".to_owned()) } };
        consumer.until("everything is as people want it", done).await;
    }
}

fn name(n: usize) -> String {
    format!("r{n}")
}

fn is_client(n: usize) -> bool {
    n >= SUBJECTS / 2
}

/// Whether an object says that it is as its present generation wants.
fn is_done(object: &Value) -> bool {
    let ready = condition(object, "Ready").is_some_and(|c| c["status"] == "True");
    ready && object["metadata"]["deletionTimestamp"].is_null()
}

fn versions(client: &Value) -> usize {
    client["status"]["credentials"].as_array().map_or(0, Vec::len)
}

/// `WEIR_E2E_KILLS` says how often it is killed, or stopped for a while, `WEIR_E2E_SEED` when and amid what.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn an_operator_killed_again_and_again_leaves_the_brokers_exact() {
    let h = Harness::start().await;
    let operator = Operator::of(&h);
    let (kills, seed) = (from_environment("WEIR_E2E_KILLS", 100), from_environment("WEIR_E2E_SEED", 1));
    let mut random = Seeded(seed);
    let mut wishes = Wishes::first(&h).await;
    let (start, mut governed, mut at_work) = (Instant::now(), 0, 0);
    for kill in 1..=kills {
        // Every third dies at any moment of its life, as a rule while it takes over; the others amid what they do.
        let any_moment = random.below(3) == 0;
        if !any_moment {
            operator.governing().await;
        }
        let mut changes = Vec::new();
        for _ in 0..=random.below(4) {
            changes.push(wishes.change(&mut random).await);
        }
        // When it is killed is part of the seeded schedule.
        tokio::time::sleep(Duration::from_millis(random.below(if any_moment { 2500 } else { 300 }))).await;
        let leader = operator.leader().await;
        let (governs, under_way) = (operator.governs(&leader).await, wishes.under_way().await);
        // Every so often one is stopped until another leads, and then goes on with what it was about to write.
        let stops = kill % STOPPED_EVERY == 0;
        if stops {
            let frozen = operator.freeze(&leader).await;
            operator.led_by_another_than(&leader).await;
            frozen.thaw();
        } else {
            operator.kill_leader().await;
        }
        governed += u64::from(governs);
        at_work += u64::from(governs && under_way > 0);
        eprintln!(
            "{:6.1} s  {} {kill} of {kills}: {leader}, {}, {under_way} under way; {}",
            start.elapsed().as_secs_f32(),
            if stops { "stop" } else { "kill" },
            if governs { "governing" } else { "taking over" },
            changes.join(", ")
        );
    }
    eprintln!("of {kills} killed, {governed} governed and {at_work} were at work; seed {seed}");
    assert!(at_work * 4 >= kills, "too few were killed at work");
    // What the last one left to do is done by the next.
    operator.governing().await;
    wishes.come_true(&h).await;
    eprintln!("{:6.1} s  the brokers are exact", start.elapsed().as_secs_f32());
    trail::is_whole(&h, &[&wishes.consumer, &wishes.owner]).await;
    wishes.consumer.end().await;
    wishes.owner.end().await;
}
