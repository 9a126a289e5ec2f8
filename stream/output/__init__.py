"""Output records: predictions, dead letters and outcome deltas, and the ledger that balances them."""
