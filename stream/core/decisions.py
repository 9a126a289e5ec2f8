"""The codes of decisions: what becomes of a prediction."""

from __future__ import annotations

from typing import Final

from forebay.schemas.outputs import ABSTENTION_REASONS

PREDICT: Final = 0
"""The prediction goes to the topic predictions."""
IN_BAND: Final = 1
"""The model abstains, because the score is in the band that people review."""
LOW_CONFIDENCE: Final = 2
"""The model abstains, because the confidence is below the limit."""
FIRST_ROUTE: Final = 3
"""The prediction goes to the topic of the first route, with the next code to that of the second, and so on."""

ABSTENTIONS: Final = dict(zip((IN_BAND, LOW_CONFIDENCE), ABSTENTION_REASONS, strict=True))
"""The reasons of abstentions, as predictions state them, by code."""
