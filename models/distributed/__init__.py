"""Data-parallel training: ranks, their exchange of gradients, compression, checkpoints, and the launcher."""
