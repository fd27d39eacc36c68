//! What widens access is on record before the cluster is asked. What cannot be put there waits, and what narrows does not wait with it.

use std::collections::BTreeMap;

use super::access::Problems;
use super::session::Session;
use crate::api::{Action, Outcome};
use crate::domain::event::{Gain, Happening};
use crate::domain::plan::{Observed, PrincipalPlan};
use crate::domain::problem::Problem;

impl Session<'_> {
    /// Puts on record what the plans are about to give. Where that cannot be, they are cut down to what they take away. Returns why
    /// the rest waits, by principal.
    pub(super) async fn put_on_record(&mut self, plans: &mut [PrincipalPlan]) -> Problems {
        let nothing = Observed::default();
        let mut gains = BTreeMap::new();
        for plan in plans.iter() {
            if plan.narrows() {
                self.intents.forget(&plan.principal);
            }
            let gained = plan.gains(self.observed.principals.get(&plan.principal).unwrap_or(&nothing));
            if !gained.is_empty() {
                gains.insert(plan.principal.clone(), gained);
            }
        }
        let message = |whose, what| format!("{whose} principals are about to get {what} entries or quotas");
        let Err(problem) = self.intend(&gains, message).await else { return Problems::new() };
        let no_records = BTreeMap::new();
        for plan in plans.iter_mut().filter(|p| gains.contains_key(&p.principal)) {
            let recorded = self.ledger.grants.get(&plan.principal).unwrap_or(&no_records);
            let observed = self.observed.principals.get(&plan.principal).unwrap_or(&nothing);
            *plan = plan.narrowing(recorded, observed);
        }
        gains.into_keys().map(|principal| (principal, problem.clone())).collect()
    }

    /// Puts on record what each is about to get, by principal or whoever else it is. `message` is of how many, and how much.
    ///
    /// # Errors
    /// It cannot be put on record: then nothing of it is to be given.
    pub(super) async fn intend(
        &mut self,
        gains: &BTreeMap<String, Vec<Gain>>,
        message: impl FnOnce(usize, usize) -> String,
    ) -> Result<(), Problem> {
        let (object, cluster) = (self.object(), self.cluster);
        let told = |whose, what| {
            Happening::new(Action::AccessWidening, object, "Widening", message(whose, what))
                .ended(Outcome::Pending)
                .on(cluster)
        };
        self.intents.put_on_record(self.context, gains, told).await
    }
}
