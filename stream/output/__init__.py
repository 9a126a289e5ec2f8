"""Results as Kafka records: predictions, dead letters, outcome deltas, and the ledger that balances them."""
