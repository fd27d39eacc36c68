//! Copies by MirrorMaker 2: what a connector should be, what to do next about it, and whether records flow.

pub mod connector;
pub mod flow;
pub mod offsets;
pub mod plan;
pub mod reported;
pub mod strimzi;
pub mod worker;
