"""The codes of decisions: what becomes of a prediction."""

from __future__ import annotations

from typing import Final

PREDICT: Final = 0
"""The prediction goes to the topic predictions."""
IN_BAND: Final = 1
"""The model abstains, because the score is in the band that people review."""
LOW_CONFIDENCE: Final = 2
"""The model abstains, because the confidence is below the limit."""
FIRST_ROUTE: Final = 3
"""The prediction goes to the topic of the first route, with the next code to that of the second, and so on."""

ABSTENTIONS: Final = {IN_BAND: "score_in_band", LOW_CONFIDENCE: "low_confidence"}
"""The reasons of abstentions, as predictions state them, by code."""
