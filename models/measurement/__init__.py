"""Measure models: time, memory and energy of a call, against another model on the same machine."""
