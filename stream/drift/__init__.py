"""Drift: how far the rows and scores that a model sees are from those of its training. Pure: no client, no clock."""
