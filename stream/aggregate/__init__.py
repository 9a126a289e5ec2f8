"""The aggregator: merges the outcome deltas of all workers into buckets of a minute, and raises alerts."""
