"""Measuring a worker: how many events it takes a second, how late its predictions are, and what it costs."""
