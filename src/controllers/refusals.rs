//! What is told where an object cannot be as its spec says.

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::context::Context;
use crate::api::{Action, Outcome};
use crate::domain::conditions::newly_refused;
use crate::domain::event::Happening;
use crate::domain::problem::Problem;

/// Tells of those of `problems` that the user must mend and that the conditions `before` do not say: on record, once a generation and
/// message, and to `kubectl describe`. `happening` is what else there is to say of the object; who sees it beside the object's own
/// namespace is up to that.
pub async fn announce<'a, K: ResourceExt<DynamicType = ()>>(
    context: &Context,
    object: &K,
    problems: impl IntoIterator<Item = &'a Problem>,
    before: &[Condition],
    happening: impl Fn(Action, &str, &str) -> Happening,
) {
    let refused = newly_refused(problems, before);
    let generation = object.meta().generation;
    let told = refused.iter().map(|Problem { reason, message, .. }| {
        let happening = happening(Action::RequestRefused, reason.as_str(), message).ended(Outcome::Failure);
        (happening, format!("{generation:?}/{message}"))
    });
    context.record_all(told.collect()).await;
    join_all(refused.iter().map(|p| context.events.note(object, true, p.reason.as_str(), &p.message))).await;
}
