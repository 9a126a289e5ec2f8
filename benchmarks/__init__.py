"""Benchmarks of Forebay and of hand-written workers. See README.md."""
