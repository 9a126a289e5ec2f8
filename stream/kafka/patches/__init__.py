"""Changes to the behaviour of single Kafka clients, where the client itself has no option for it."""
