"""Run the aiokafka worker with deliveries awaited and committed every 100 ms instead of after each batch."""

from __future__ import annotations

from benchmarks.contestants.aiokafka_worker import main
from benchmarks.contestants.job import PIPELINED_COMMIT_S

if __name__ == "__main__":
    main(commit_interval_s=PIPELINED_COMMIT_S)
