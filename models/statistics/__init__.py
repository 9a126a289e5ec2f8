"""Statistics of the columns of a table, in one pass over record batches and with bounded memory."""
