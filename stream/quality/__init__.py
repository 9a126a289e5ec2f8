"""Quality of predictions: sums over predictions and the pairs of a prediction and its label, and metrics of these sums.

Everything here is a sum, so that the parts of several processes, commits and windows can be added up in any order. Nothing here
connects to a cluster or reads a clock.
"""
