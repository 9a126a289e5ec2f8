"""The worker: Kafka records in, micro-batches through a model, predictions and dead letters out."""
