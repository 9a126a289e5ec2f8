"""The aggregator: outcome deltas of all workers merged into windows, and alerts about them."""
