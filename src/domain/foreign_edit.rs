//! Which events of a watch tell that somebody else edited or deleted what Weir wrote, and when its owner is woken for that.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::names::ObjectKey;
use crate::api::GROUP;

/// An owner is woken by edits at most once in this time: whoever edits in a loop shall not make Weir write in one.
pub const GAP: SignedDuration = SignedDuration::from_secs(2);

/// Whose an object in a consumer's namespace is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A StreamClient.
    Client(ObjectKey),
    /// A RoleBinding.
    Binding(ObjectKey),
}

/// The owner that an object names as its controller; `None` where that is none of Weir's kinds.
pub fn owner_of(meta: &ObjectMeta) -> Option<Owner> {
    let is_weirs = |version: &str| version.split_once('/').is_some_and(|(group, _)| group == GROUP);
    let owner = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true))?;
    let key = ObjectKey::new(meta.namespace.clone()?, &owner.name);
    match owner.kind.as_str() {
        "StreamClient" if is_weirs(&owner.api_version) => Some(Owner::Client(key)),
        "RoleBinding" if is_weirs(&owner.api_version) => Some(Owner::Binding(key)),
        _ => None,
    }
}

/// Which versions of the objects of one kind in one namespace are known to be right or at least looked at, by name.
#[derive(Debug, Default)]
pub struct Versions(BTreeMap<String, Object>);

#[derive(Debug)]
struct Object {
    owner: Owner,
    /// The `resourceVersion` that Weir last wrote or read.
    known: Option<String>,
    /// The one that the watch last showed.
    seen: Option<String>,
    /// Weir is writing it: what is seen meanwhile may be that.
    writing: bool,
}

impl Object {
    fn is_edited(&self) -> bool {
        let newer = |seen: &String| self.known.as_ref().is_some_and(|known| is_newer(seen, known));
        !self.writing && self.seen.as_ref().is_some_and(newer)
    }
}

impl Versions {
    /// Weir begins to write an object.
    pub fn writing(&mut self, name: &str) {
        if let Some(object) = self.0.get_mut(name) {
            object.writing = true;
        }
    }

    /// Weir wrote an object, or failed to. Returns whom to wake for what was seen meanwhile.
    #[must_use]
    pub fn written(&mut self, name: &str) -> Option<Owner> {
        let object = self.0.get_mut(name)?;
        object.writing = false;
        object.is_edited().then(|| object.owner.clone())
    }

    /// A version that Weir wrote or read. Returns whom to wake, because a newer one was seen already.
    #[must_use]
    pub fn known(&mut self, name: &str, owner: Owner, version: &str) -> Option<Owner> {
        let (seen, writing) = self.0.remove(name).map_or((None, false), |o| (o.seen, o.writing));
        let object = Object { owner, known: Some(version.to_owned()), seen, writing };
        let woken = object.is_edited().then(|| object.owner.clone());
        self.0.insert(name.to_owned(), object);
        woken
    }

    /// The watch shows a version of an object of `owner`. Returns whom to wake. What Weir has neither written nor read
    /// yet wakes nobody: it will be read.
    #[must_use]
    pub fn seen(&mut self, name: &str, owner: Option<Owner>, version: &str) -> Option<Owner> {
        if let Some(object) = self.0.get_mut(name) {
            object.seen = Some(version.to_owned());
            // Also where the edit took the owner out.
            return object.is_edited().then(|| object.owner.clone());
        }
        if let Some(owner) = owner {
            let object = Object { owner, known: None, seen: Some(version.to_owned()), writing: false };
            self.0.insert(name.to_owned(), object);
        }
        None
    }

    /// An object is gone, or has Weir's label no more. Returns whom to wake.
    #[must_use]
    pub fn gone(&mut self, name: &str) -> Option<Owner> {
        Some(self.0.remove(name)?.owner)
    }

    /// The watch has shown everything that was there when it began. Returns who is to be woken: what Weir knows and the watch
    /// did not show may have been deleted before.
    #[must_use]
    pub fn listed(&mut self) -> Vec<Owner> {
        self.0.values().filter(|o| o.seen.is_none()).map(|o| o.owner.clone()).collect()
    }
}

/// Whether a `resourceVersion` is newer than another one of the same kind. They are numbers that grow (KEP-5504); where they are
/// not, another one counts as newer.
fn is_newer(version: &str, than: &str) -> bool {
    match (version.parse::<u128>(), than.parse::<u128>()) {
        (Ok(version), Ok(than)) => version > than,
        _ => version != than,
    }
}

/// When owners were last woken, or are going to be.
#[derive(Debug, Default)]
pub struct Pace(BTreeMap<Owner, Timestamp>);

impl Pace {
    /// When to wake `owner` for an edit; `None` where it is going to be woken anyway.
    pub fn turn(&mut self, owner: &Owner, now: Timestamp) -> Option<Timestamp> {
        // What lies further ahead is of a clock that was wrong.
        self.0.retain(|_, at| now.duration_since(*at).abs() <= GAP);
        let at = match self.0.get(owner) {
            Some(at) if *at > now => return None,
            Some(at) => at.checked_add(GAP).unwrap_or(now),
            None => now,
        };
        self.0.insert(owner.clone(), at);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn app() -> Owner {
        Owner::Client(ObjectKey::new("fraud", "app"))
    }

    fn meta(api_version: &str, kind: &str, controller: bool) -> ObjectMeta {
        let owner = OwnerReference {
            api_version: api_version.into(),
            kind: kind.into(),
            name: "app".into(),
            controller: controller.then_some(true),
            ..OwnerReference::default()
        };
        ObjectMeta { namespace: Some("fraud".into()), owner_references: Some(vec![owner]), ..ObjectMeta::default() }
    }

    #[test]
    fn the_owner_is_the_controller_of_weirs_kinds() {
        let of = |version, kind, controller| owner_of(&meta(version, kind, controller));
        assert_eq!(of("weir.dev/v1alpha1", "StreamClient", true), Some(app()));
        assert_eq!(of("weir.dev/v1", "RoleBinding", true), Some(Owner::Binding(ObjectKey::new("fraud", "app"))));
        assert_eq!(of("weir.dev/v1alpha1", "StreamClient", false), None);
        assert_eq!(of("rbac.authorization.k8s.io/v1", "RoleBinding", true), None);
        assert_eq!(owner_of(&ObjectMeta::default()), None);
    }

    #[test]
    fn what_weir_wrote_itself_wakes_nobody() {
        let mut versions = Versions::default();
        assert_eq!(versions.known("app", app(), "10"), None);
        assert_eq!(versions.seen("app", Some(app()), "10"), None);
        assert_eq!(versions.seen("app", Some(app()), "9"), None, "an event that comes late");
    }

    #[test]
    fn an_own_write_that_is_seen_before_it_is_answered_wakes_nobody() {
        let mut versions = Versions::default();
        assert_eq!(versions.seen("app", Some(app()), "10"), None);
        assert_eq!(versions.known("app", app(), "10"), None);
    }

    #[test]
    fn what_is_seen_during_an_own_write_is_judged_after_it() {
        let mut versions = Versions::default();
        assert_eq!(versions.known("app", app(), "10"), None);
        versions.writing("app");
        assert_eq!(versions.seen("app", Some(app()), "11"), None);
        assert_eq!(versions.known("app", app(), "11"), None);
        assert_eq!(versions.written("app"), None, "it was Weir's own");
        versions.writing("app");
        assert_eq!(versions.seen("app", Some(app()), "12"), None);
        assert_eq!(versions.written("app"), Some(app()), "Weir's write failed, so it was another's");
        versions.writing("app");
        assert_eq!(versions.known("app", app(), "13"), None);
        assert_eq!(versions.seen("app", Some(app()), "14"), None);
        assert_eq!(versions.written("app"), Some(app()), "an edit right after it");
    }

    #[test]
    fn what_was_there_before_and_is_not_read_yet_wakes_nobody() {
        let mut versions = Versions::default();
        assert_eq!(versions.seen("app", Some(app()), "10"), None);
        assert_eq!(versions.seen("app", Some(app()), "11"), None);
        assert_eq!(versions.known("app", app(), "10"), Some(app()), "what was read before the edit is looked at again");
        assert_eq!(versions.known("app", app(), "11"), None);
    }

    #[test]
    fn an_edit_wakes_the_owner_even_if_it_took_the_owner_out() {
        let mut versions = Versions::default();
        assert_eq!(versions.known("app", app(), "9"), None);
        assert_eq!(versions.seen("app", Some(app()), "10"), Some(app()), "ten is more than nine");
        assert_eq!(versions.known("app", app(), "10"), None);
        assert_eq!(versions.seen("app", None, "11"), Some(app()));
    }

    #[test]
    fn versions_that_are_no_numbers_are_told_apart_all_the_same() {
        let mut versions = Versions::default();
        assert_eq!(versions.known("app", app(), "x"), None);
        assert_eq!(versions.seen("app", Some(app()), "x"), None);
        assert_eq!(versions.seen("app", Some(app()), "a"), Some(app()));
    }

    #[test]
    fn a_deletion_wakes_the_owner_once() {
        let mut versions = Versions::default();
        assert_eq!(versions.known("app", app(), "10"), None);
        assert_eq!(versions.gone("app"), Some(app()));
        assert_eq!(versions.gone("app"), None);
        assert_eq!(versions.seen("unread", Some(app()), "10"), None);
        assert_eq!(versions.gone("unread"), Some(app()));
        assert_eq!(versions.seen("foreign", None, "10"), None);
        assert_eq!(versions.gone("foreign"), None);
    }

    #[test]
    fn what_was_deleted_before_the_watch_began_is_missed_in_its_list() {
        let mut versions = Versions::default();
        assert_eq!(versions.known("here", app(), "10"), None);
        assert_eq!(versions.known("gone", Owner::Binding(ObjectKey::new("fraud", "b")), "11"), None);
        assert_eq!(versions.seen("here", Some(app()), "10"), None);
        assert_eq!(versions.listed(), [Owner::Binding(ObjectKey::new("fraud", "b"))]);
    }

    #[test]
    fn edits_in_a_loop_wake_the_owner_once_in_a_while() {
        let mut pace = Pace::default();
        let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
        assert_eq!(pace.turn(&app(), at(0)), Some(at(0)));
        assert_eq!(pace.turn(&app(), at(500)), Some(at(2000)));
        assert_eq!(pace.turn(&app(), at(900)), None);
        assert_eq!(pace.turn(&app(), at(2100)), Some(at(4000)));
        assert_eq!(pace.turn(&Owner::Binding(ObjectKey::new("fraud", "app")), at(2100)), Some(at(2100)));
        assert_eq!(pace.turn(&app(), at(60_000)), Some(at(60_000)));
    }
}
