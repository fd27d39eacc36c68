//! Kubernetes, as the controllers use it. No decisions here.

pub mod bundles;
pub mod credentials;
pub mod events;
pub mod feed;
pub mod fences;
pub mod files;
pub mod lease;
pub mod objects;
pub mod policies;
pub mod publish;
pub mod reports;
pub mod strimzi;
pub mod workers;
