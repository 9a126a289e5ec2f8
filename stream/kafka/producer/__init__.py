"""Writing: record batches, and the transaction that commits them with the offsets."""
