"""Contestants in other languages and environments: their sources, builds and command lines."""
