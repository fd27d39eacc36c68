//! x
pub struct KafkaLedger;
