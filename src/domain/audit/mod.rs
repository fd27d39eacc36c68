//! The record of all SecurityEvents: what stands in it, how records are chained, and how one finds out that somebody changed it.
//!
//! | module | what |
//! | --- | --- |
//! | [`chain`] | each record tells the hash of the one before |
//! | [`checkpoint`] | the head of the chain, signed |
//! | [`heard`] | what brokers tell of clients that they refused |
//! | [`bursts`] | who is refused too much |
//! | [`callers`] | whom Weir's own endpoints turn away |
//! | [`denied`] | closed windows as events |
//! | [`trials`] | whom Weir tries itself |
//! | [`windows`] | equal refusals are one |
//! | [`proof`] | a whole chain against the checkpoints: proven, or its breaks |
//! | [`breaks`] | how a chain is broken |

pub mod breaks;
pub mod bursts;
pub mod callers;
pub mod chain;
pub mod checkpoint;
pub mod denied;
pub mod heard;
pub mod proof;
#[cfg(test)]
mod tests;
pub mod trials;
pub mod windows;
