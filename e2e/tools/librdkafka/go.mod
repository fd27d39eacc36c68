// librdkafka, built, as it comes with Confluent's Go client. Debian's is older
// than 2.6.1 and cannot do SCRAM with Kafka 4
// (https://github.com/confluentinc/librdkafka/pull/4895), so the lab links this
// one into a shared library for kcat.
module weir.dev/e2e/tools/librdkafka

go 1.26.0

tool github.com/confluentinc/confluent-kafka-go/v2/kafka/go_rdkafka_generr

require github.com/confluentinc/confluent-kafka-go/v2 v2.11.1 // indirect
