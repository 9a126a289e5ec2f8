"""Compression of gradients between ranks."""
