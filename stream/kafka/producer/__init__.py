"""The producer side: record batches, and the transactions that commit them together with offsets."""
