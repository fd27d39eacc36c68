//! What the trail has to do with the world outside of Kubernetes and Kafka. Does I/O.
//!
//! | module | what |
//! | --- | --- |
//! | [`exporters`] | of brokers' metrics |
//! | [`intake`] | shippers of brokers' logs post to it |
//! | [`webhook`] | a receiver of CloudEvents |

pub mod exporters;
pub mod intake;
pub mod webhook;
