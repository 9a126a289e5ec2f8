"""Mutated artefacts of every backend: refused, or served with finite predictions."""
