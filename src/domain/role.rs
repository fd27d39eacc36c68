//! A role: what it selects, what it inherits, and from where it may be bound.

mod closure;

use std::collections::{BTreeMap, BTreeSet};

use super::index::Index;
use super::names::{ObjectKey, is_internal};
use super::problem::Problem;
use super::tenancy::selects;
use crate::api::{BindableFromMode, DataProduct, Privilege, Reason, StreamRole, StreamRoleSpec};

pub use closure::{Closure, closure};

/// Whether `role` may be bound from `namespace`. `asked` says that admission asked for the verb `bind` there: only then does a
/// role's own namespace need no mention in `bindableFrom`.
///
/// # Errors
/// Why not.
pub fn bindable(
    index: &Index,
    key: &ObjectKey,
    role: &StreamRole,
    namespace: &str,
    asked: bool,
) -> Result<(), Problem> {
    let bindable = &role.spec.bindable_from;
    let allowed = asked && key.namespace == namespace
        || match bindable.mode {
            BindableFromMode::Same => false,
            BindableFromMode::All => true,
            BindableFromMode::Selector => bindable
                .namespace_selector
                .as_ref()
                .is_some_and(|s| index.namespace(namespace).is_some_and(|ns| selects(s, &ns.labels))),
        };
    if allowed {
        return Ok(());
    }
    Err(Problem::invalid(
        Reason::NotBindable,
        format!("StreamRole {key} may not be bound from namespace {namespace}: its owner decides in bindableFrom"),
    ))
}

/// Whether a role with `spec` selects the product `name` with `labels`, both of the role's namespace.
pub fn selects_product(spec: &StreamRoleSpec, name: &str, labels: &BTreeMap<String, String>) -> bool {
    // As [`Index::named_product`] has it.
    !is_internal(name)
        && spec.privileges.iter().any(|privilege| {
            let products = &privilege.products;
            products.names.iter().any(|n| n == name) || products.selector.as_ref().is_some_and(|s| selects(s, labels))
        })
}

/// The products of the role's namespace that `privilege` selects, and what is missing.
pub fn products<'a>(index: &'a Index, role: &ObjectKey, privilege: &Privilege) -> (Vec<&'a DataProduct>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut products = Vec::new();
    for name in &privilege.products.names {
        let key = ObjectKey::new(&role.namespace, name);
        match index.named_product(&key) {
            Some(product) => products.push(product),
            None => problems.push(Problem::invalid(
                Reason::ProductNotFound,
                format!("DataProduct {key}, which StreamRole {role} names, does not exist"),
            )),
        }
    }
    if let Some(selector) = &privilege.products.selector {
        let matching = index.products_in(&role.namespace);
        products
            .extend(matching.filter(|p| selects(selector, p.metadata.labels.as_ref().unwrap_or(&Default::default()))));
    }
    for name in &privilege.streams {
        let exists = |p: &&DataProduct| p.spec.streams.iter().any(|s| s.name == *name);
        if !products.iter().any(exists) && !products.is_empty() {
            let of: BTreeSet<_> = products.iter().map(|p| index.key_of(*p).to_string()).collect();
            let of: Vec<_> = of.into_iter().collect();
            problems.push(Problem::invalid(
                Reason::StreamNotFound,
                format!("stream {name}, which StreamRole {role} names, is not one of DataProduct {}", of.join(", ")),
            ));
        }
    }
    (products, problems)
}
