"""Rollouts of model versions: what a revision says, which revision is valid, and which version predicts a key.

Nothing here connects to a cluster or reads a clock: times, ids and seeds are passed in.
"""
