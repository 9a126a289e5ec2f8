"""Output on a terminal: consoles, tables, errors, and Kafka records as lines."""
