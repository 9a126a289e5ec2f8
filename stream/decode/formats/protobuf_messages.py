"""The Protobuf messages of a poll that are being read at once.

Shapes: R payloads that have the message; P of these with the field in question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forebay.stream.decode.formats.protobuf_plan import MessagePlan
from forebay.stream.decode.formats.protobuf_wire import Positions


@dataclass(slots=True)
class Messages:
    """The messages of one type that are being read, one of each payload that has it.

    rows_R: the indexes of their payloads; None if all payloads have one.
    at_R, end_R: the position in each, and where it ends. at_R is replaced with each field.
    counts_OR: how many fields of each oneof were read.
    """

    plan: MessagePlan
    rows_R: NDArray[np.intp] | None
    at_R: Positions
    end_R: Positions
    counts_OR: NDArray[np.int8] | None = None

    def rows(self, at_P: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the indexes of the payloads of some messages."""
        return at_P if self.rows_R is None else self.rows_R[at_P]

    def advance(self, at_P: NDArray[np.intp], position_P: Positions) -> None:
        """Move some positions on, not further than just behind the end."""
        if len(at_P) == len(self.at_R):
            self.at_R = np.minimum(position_P, self.end_R + 1)
        else:
            self.at_R[at_P] = np.minimum(position_P, self.end_R[at_P] + 1)


class Skipped(NamedTuple):
    """Fields that were skipped: in which messages, their numbers, and where they begin and end."""

    at_P: NDArray[np.intp]
    number_P: NDArray[np.int64]
    begin_P: Positions
    end_P: Positions
