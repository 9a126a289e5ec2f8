"""Serving: run a model on rows and return checked scores."""
