"""What all sections of the configuration have in common."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

DAY_MS: Final = 86_400_000


class Section(BaseModel):
    """What all sections have in common: they never change, take no unknown keys and guess no types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
