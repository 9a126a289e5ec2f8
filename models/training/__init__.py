"""Training: fit preprocessing and nets, and compute their metrics."""
