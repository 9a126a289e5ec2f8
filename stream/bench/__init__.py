"""The benchmark of a worker: throughput, latency, memory and CPU time."""
