"""Mutated payloads of every format: each becomes a row or a rejection, in bounded memory and time."""
