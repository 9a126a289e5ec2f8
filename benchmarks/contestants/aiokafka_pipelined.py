"""The hand-written worker on aiokafka that awaits deliveries and commits every 100 ms instead of after each batch."""

from __future__ import annotations

from benchmarks.contestants.aiokafka_worker import main
from benchmarks.contestants.job import PIPELINED_COMMIT_S

if __name__ == "__main__":
    main(commit_interval_s=PIPELINED_COMMIT_S)
