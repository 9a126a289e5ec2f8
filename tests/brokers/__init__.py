"""The brokers that tests run against: a real Apache Kafka, where one is to be had, and the embedded."""
