"""The audit: a chain of hashes over the outcomes of each input partition, and its verification.

Nothing here connects to a cluster or reads a clock: times are passed in. Only `signing` reads files, the keys.
"""
