"""Inference: the thread that owns the device, and bisection of micro-batches that fail."""
