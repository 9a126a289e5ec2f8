"""Experiments: which of two versions of a model is better, with a confidence that holds however often one looks.

The unit is the routing key: keys are hashed to blocks, and everything here is a sum by block. Nothing here connects to a
cluster or reads a clock.
"""
