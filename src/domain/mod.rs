//! Decisions: pure functions over values. No client, no clock (time is a parameter), no environment.

pub mod acl;
pub mod secret;
