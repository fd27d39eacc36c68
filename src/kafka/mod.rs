//! Kafka, behind the ports of [`crate::ports`].
