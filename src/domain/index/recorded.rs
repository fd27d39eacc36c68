//! What the ledgers say: which clients, topics and subjects Weir has on record.

use std::collections::BTreeSet;

use super::update::set;
use super::{Index, ObjectKey, PrincipalKey, Touched};
use crate::domain::ledger::{Change, ClientRecord, Ledger, TopicRecord};
use crate::domain::names::{engine_of_worker, service_account_of, share_of_guest};

impl Index {
    /// Takes everything that a ledger holds, and forgets what it held before.
    pub(super) fn set_ledger(&mut self, cluster: String, ledger: Ledger, touched: &mut Touched) {
        self.ledgers_read.insert(cluster.clone());
        self.governed.retain(|(c, _), _| *c != cluster);
        self.promised.retain(|(c, _), _| *c != cluster);
        let recorded = |at: &(String, String, String)| {
            ledger.grants.get(&at.1).and_then(|g| g.get(&at.0)).is_some_and(|r| r.subject_uid.is_some())
        };
        let of_cluster = self.subject_uids.keys().filter(|at| at.2 == cluster);
        let stale: Vec<_> = of_cluster.filter(|at| !recorded(at)).cloned().collect();
        for at in stale {
            self.set_subject_uid(at, None, touched);
        }
        let of_cluster = self.client_records.iter().filter(|(_, (c, _))| *c == cluster);
        let stale: Vec<_> =
            of_cluster.map(|(uid, _)| uid.clone()).filter(|u| !ledger.clients.contains_key(u)).collect();
        for uid in stale {
            self.set_client_record(&cluster, uid, None, touched);
        }
        for (principal, of_principal) in ledger.grants {
            touched.principals.insert(PrincipalKey { cluster: cluster.clone(), principal: principal.clone() });
            for (uid, record) in of_principal {
                self.set_subject_uid((uid, principal.clone(), cluster.clone()), record.subject_uid, touched);
            }
        }
        for (topic, record) in ledger.topics {
            self.record_topic((cluster.clone(), topic), Some(record));
        }
        for (uid, record) in ledger.clients {
            self.set_client_record(&cluster, uid, Some(record), touched);
        }
        self.touch_all_on(&cluster, touched);
    }

    /// Takes what was committed to a ledger.
    pub(super) fn committed(&mut self, cluster: &str, changes: Vec<Change>, touched: &mut Touched) {
        self.ledgers_read.insert(cluster.to_owned());
        for change in changes {
            match change {
                Change::Installation(_) => {}
                Change::Grant(key, record) => {
                    let subject = record.and_then(|r| r.subject_uid);
                    let at = (key.binding_uid, key.principal, cluster.to_owned());
                    self.set_subject_uid(at, subject, touched);
                }
                Change::Client(uid, record) => self.set_client_record(cluster, uid, record, touched),
                Change::Topic(topic, record) => {
                    let owner = record.as_ref().map(|r| ObjectKey::new(&r.namespace, &r.name));
                    let at = (cluster.to_owned(), topic);
                    // Whoever had it before is among those who claim it, or lost it with the claim.
                    let claimants: Vec<_> = self.claims.get(&at).into_iter().flatten().map(|c| c.key.clone()).collect();
                    self.record_topic(at, record);
                    for key in claimants.iter().chain(&owner) {
                        self.touch_product(key, touched);
                    }
                }
            }
        }
    }

    fn record_topic(&mut self, at: (String, String), record: Option<TopicRecord>) {
        let (promised, governed): (Option<_>, Option<_>) = match record {
            Some(record) if record.is_promised => (Some(record.product_uid), None),
            record => (None, record.map(|record| record.product_uid)),
        };
        set(&mut self.promised, at.clone(), promised);
        set(&mut self.governed, at, governed);
    }

    fn set_subject_uid(&mut self, at: (String, String, String), subject: Option<String>, touched: &mut Touched) {
        if self.subject_uids.get(&at) != subject.as_ref() {
            let account = service_account_of(&at.1);
            let naming = account.iter().flat_map(|account| self.bindings_of_subject.to(account));
            touched.bindings.extend(naming.cloned());
            set(&mut self.subject_uids, at, subject);
        }
    }

    fn set_client_record(&mut self, cluster: &str, uid: String, record: Option<ClientRecord>, touched: &mut Touched) {
        // One cluster forgets what another has issued since: that stays.
        let is_without = record.as_ref().is_none_or(|r| r.versions.is_empty());
        if is_without && self.client_cluster(&uid).is_some_and(|on| on != cluster) {
            return;
        }
        let before = self.client_record(&uid).cloned();
        let Some(key) = record.as_ref().or(before.as_ref()).map(ClientRecord::key) else { return };
        let principals = |r: Option<&ClientRecord>| -> BTreeSet<String> {
            let versions = r.into_iter().flat_map(|r| &r.versions);
            versions.filter(|v| !v.retired).map(|v| v.principal.clone()).collect()
        };
        if principals(before.as_ref()) != principals(record.as_ref()) {
            touched.bindings.extend(self.bindings_of_subject.to(&key).cloned());
            touched.shares.extend(share_of_guest(&key).map(|(share, _)| share));
            touched.engines.extend(engine_of_worker(&key));
        }
        self.touch_issued(&uid, touched);
        for version in before.iter().flat_map(|r| &r.versions) {
            self.issued.remove(&version.principal);
        }
        for version in record.iter().flat_map(|r| &r.versions) {
            self.issued.insert(version.principal.clone(), uid.clone());
        }
        set(&mut self.client_records, uid.clone(), record.map(|r| (cluster.to_owned(), r)));
        self.touch_issued(&uid, touched);
        touched.clients.insert(key);
    }

    /// Every principal that was issued to the client with this UID, as far as it is not forgotten.
    pub(super) fn touch_issued(&self, uid: &str, touched: &mut Touched) {
        if let Some((cluster, record)) = self.client_records.get(uid) {
            let principals = record.versions.iter().map(|v| v.principal.clone());
            touched.principals.extend(principals.map(|principal| PrincipalKey { cluster: cluster.clone(), principal }));
        }
    }

    /// Every principal whose ServiceAccount is on record for the binding with this UID.
    pub(super) fn touch_recorded_subjects(&self, binding_uid: &str, touched: &mut Touched) {
        let first = (binding_uid.to_owned(), String::new(), String::new());
        let of_binding = self.subject_uids.range(first..).take_while(|((uid, _, _), _)| uid == binding_uid);
        touched.principals.extend(of_binding.map(|((_, principal, cluster), _)| PrincipalKey {
            cluster: cluster.clone(),
            principal: principal.clone(),
        }));
    }
}
