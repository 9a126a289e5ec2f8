"""Schemas of a schema registry: how records refer to them, what they say, and which are known."""
