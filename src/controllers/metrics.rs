//! Metrics, read from what the appliers know at the moment of the scrape. Labels are names that the platform chose (clusters)
//! and Kafka's own API names; none is a tenant's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::applier::{ClusterState, Link};
use super::audit::{Counts, Standing};
use super::context::Context;

/// A gauge of each cluster: its name, what it says, and where it is read.
type Gauge = (&'static str, &'static str, fn(&ClusterState) -> usize);

const GAUGES: [Gauge; 7] = [
    ("weir_cluster_governing", "1 while the cluster is connected and governed, else 0", |s| {
        usize::from(s.link == Link::Governing)
    }),
    ("weir_brokers", "Brokers that serve", |s| s.facts.as_ref().map_or(0, |f| f.brokers.len())),
    ("weir_principals", "Principals that have access through Weir", |s| s.counts.0),
    ("weir_acl_entries", "Access control entries that Weir keeps", |s| s.counts.1),
    ("weir_unverified_principals", "Principals with a change that not every broker was seen to have", |s| s.pending),
    ("weir_foreign_entries", "Entries on governed topics that no resource asks for", |s| s.foreign.len()),
    ("weir_held_principals", "Principals whose removal waits for a person", |s| {
        s.held.as_ref().map_or(0, |h| h.principals.len())
    }),
];

/// A counter of the trail: its name, what it says, and where it is read.
type Count = (&'static str, &'static str, fn(&Counts) -> &AtomicU64);

const COUNTS: [Count; 7] = [
    ("weir_audit_records_total", "Events put on record", |c| &c.recorded),
    ("weir_audit_kept_total", "Events kept elsewhere because the audit topic could not be written", |c| &c.kept),
    ("weir_audit_events_lost_total", "Events that could be neither put on record nor kept", |c| &c.lost),
    ("weir_security_events_summed_total", "SecurityEvents not made because there were too many", |c| &c.summed),
    ("weir_client_refusals_total", "Refusals of clients that brokers told of", |c| &c.refusals),
    ("weir_webhook_events_total", "Events that the webhook took", |c| &c.sent),
    ("weir_webhook_dead_letters_total", "Events that the webhook will never take", |c| &c.dead),
];

/// Reads the metrics of a running operator.
pub struct Metrics {
    context: Weak<Context>,
    gauges: Vec<IntGaugeVec>,
    requests: IntCounterVec,
    unused: IntGaugeVec,
    new_addresses: IntCounterVec,
    told: IntCounterVec,
    counts: Vec<IntCounter>,
    available: IntGauge,
}

impl Metrics {
    /// Metrics of what `context` holds, for as long as it lives.
    ///
    /// # Errors
    /// Never for the names above: they are valid.
    pub fn new(context: &Arc<Context>) -> prometheus::Result<Self> {
        let gauge = |(name, help, _): &Gauge| IntGaugeVec::new(Opts::new(*name, *help), &["cluster"]);
        let requests = Opts::new("weir_kafka_requests_total", "Requests sent to Kafka since the session began");
        let unused = Opts::new("weir_grants_unused", "RoleBindings whose access nobody was seen to use for too long");
        let new_addresses = "Addresses that access was used from for the first time since others were known";
        let new_addresses = Opts::new("weir_new_addresses_total", new_addresses);
        let told = Opts::new("weir_security_events_total", "Events on record, or told where there is no AuditTrail");
        Ok(Self {
            context: Arc::downgrade(context),
            gauges: GAUGES.iter().map(gauge).collect::<prometheus::Result<_>>()?,
            requests: IntCounterVec::new(requests, &["cluster", "api"])?,
            unused: IntGaugeVec::new(unused, &["cluster"])?,
            new_addresses: IntCounterVec::new(new_addresses, &["cluster"])?,
            told: IntCounterVec::new(told, &["action"])?,
            counts: COUNTS
                .iter()
                .map(|(name, help, _)| IntCounter::new(*name, *help))
                .collect::<prometheus::Result<_>>()?,
            available: IntGauge::new("weir_audit_available", "1 while the audit topic is written, 0 while it is lost")?,
        })
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        let of_clusters = self.gauges.iter().flat_map(Collector::desc).chain(self.requests.desc());
        let of_clusters = of_clusters.chain(self.unused.desc()).chain(self.new_addresses.desc());
        let of_trail = self.told.desc().into_iter().chain(self.counts.iter().flat_map(Collector::desc));
        of_clusters.chain(of_trail).chain(self.available.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(context) = self.context.upgrade() else { return Vec::new() };
        self.gauges.iter().for_each(|g| g.reset());
        self.requests.reset();
        self.unused.reset();
        self.new_addresses.reset();
        for (cluster, handle) in context.world.handles() {
            let state = handle.state();
            for (gauge, (_, _, read)) in self.gauges.iter().zip(&GAUGES) {
                gauge.with_label_values(&[&cluster]).set(i64::try_from(read(&state)).unwrap_or(i64::MAX));
            }
            let unused = context.watches.unused(&cluster);
            self.unused.with_label_values(&[&cluster]).set(i64::try_from(unused).unwrap_or(i64::MAX));
            self.new_addresses.with_label_values(&[&cluster]).inc_by(context.watches.new_addresses(&cluster));
            for (api, count) in &state.requests {
                self.requests.with(&HashMap::from([("cluster", cluster.as_str()), ("api", *api)])).inc_by(*count);
            }
        }
        self.told.reset();
        for (action, count) in context.trail.told() {
            self.told.with_label_values(&[&format!("{action:?}")]).inc_by(count);
        }
        for (counter, (_, _, read)) in self.counts.iter().zip(&COUNTS) {
            counter.reset();
            counter.inc_by(read(&context.trail.counts).load(Ordering::Relaxed));
        }
        self.available.set(i64::from(!matches!(context.trail.standing(), Standing::Lost(..))));
        let of_clusters = self.gauges.iter().flat_map(Collector::collect).chain(self.requests.collect());
        let of_clusters = of_clusters.chain(self.unused.collect()).chain(self.new_addresses.collect());
        let of_trail = self
            .told
            .collect()
            .into_iter()
            .chain(self.counts.iter().flat_map(Collector::collect))
            .chain(self.available.collect());
        of_clusters.chain(of_trail).collect()
    }
}
