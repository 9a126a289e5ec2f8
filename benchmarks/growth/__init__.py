"""How throughput, memory and latency of a worker change with the size of what it has to do."""
