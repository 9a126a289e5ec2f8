"""Keyed windows over event time: which events belong together, and when a window is over. Pure but for `stage`."""
