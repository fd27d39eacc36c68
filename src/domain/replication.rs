//! Copies: what a connector of MirrorMaker 2, or a cluster link, should be, what to do next about it, and whether records flow.

pub mod connector;
pub mod flow;
pub mod link;
pub mod offsets;
pub mod plan;
pub mod reported;
pub mod strimzi;
pub mod worker;
