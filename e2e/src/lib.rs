//! Weir's end-to-end tests and the lab that they run in.
//!
//! [`lab`] is a real Kubernetes and a real Kafka on one Linux machine. Tests
//! run inside it (`e2e/lab exec -- cargo test ...`) and learn where everything
//! is from [`lab::Lab::current`]. [`demo`] shows Weir at work there.

pub mod demo;
pub mod lab;
