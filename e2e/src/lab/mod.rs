//! The lab: a real Kubernetes and a real three-broker Kafka on one Linux
//! machine, without a container engine, an image registry or a way out.
//!
//! Everything runs in one network namespace and one mount namespace that a
//! *holder* process owns, so that nothing a test sends can leave the machine
//! and nothing that is mounted or listens is seen outside. Processes are
//! counted by a cgroup named after the checkout. `e2e/README.md` shows the
//! layout.
//!
//! | module | what |
//! | --- | --- |
//! | [`facts`] | what tests need to know: the only part meant for them |
//! | [`paths`] | where a checkout's lab keeps its things |
//! | [`toolchain`], [`build`], [`image`] | programs and images, built once and cached |
//! | [`holder`], [`enter`], [`cgroup`], [`process`] | isolation and supervision |
//! | [`pki`], [`containerd`], [`kubernetes`], [`kafka`] | the parts |
//! | [`kafka_cluster`] | what the brokers of a Kafka are given: the lab's, and further ones that a test starts |
//! | [`test_kafka`] | Kafka as the tests of Weir's own Kafka client are told of it |
//! | [`up`], [`down`], [`exec`], [`status`] | the commands |

pub mod build;
pub mod cgroup;
pub mod command;
pub mod containerd;
pub mod down;
pub mod enter;
pub mod exec;
pub mod facts;
pub mod holder;
pub mod image;
pub mod images;
pub mod kafka;
pub mod kafka_cluster;
pub mod kubernetes;
pub mod paths;
pub mod pki;
pub mod process;
pub mod progress;
pub mod state;
pub mod status;
pub mod test_kafka;
pub mod toolchain;
pub mod up;

pub use facts::Lab;
