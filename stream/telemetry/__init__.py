"""Metrics, traces and logs of the worker and the aggregator."""
