"""Shadows: versions that predict a sample of the events that other versions have predicted, without any effect on outcomes."""
