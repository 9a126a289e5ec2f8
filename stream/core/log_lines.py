"""Log lines that other processes wait for."""

from typing import Final

READY_LINE: Final = "worker ready"
EVALUATOR_READY_LINE: Final = "evaluator ready"
