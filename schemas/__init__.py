"""What travels on the topics: the catalogue, the wire formats, the failures. Imports nothing of `models` or `stream`."""
