"""Patches of single Kafka client instances, for behaviour that the client has no option for."""
