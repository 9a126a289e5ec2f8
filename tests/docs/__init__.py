"""The documentation's command blocks, executed."""
