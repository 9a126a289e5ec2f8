"""Tables from Kafka: the events of a topic as record batches."""
