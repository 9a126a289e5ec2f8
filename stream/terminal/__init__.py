"""Output for people: the console, and Kafka records as lines."""
