"""Kafka: the client and what Forebay does over it; aiokafka is imported in this package only where it is used."""
