"""Models on their device: one thread that owns it, and what happens to a batch that fails."""
