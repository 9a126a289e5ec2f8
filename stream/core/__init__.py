"""Values, errors and protocols that the layers share, below all of them: pure, and without the Kafka client."""
