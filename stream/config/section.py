"""Base class of the configuration's sections."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

DAY_MS: Final = 86_400_000


class Section(BaseModel):
    """Base class of all sections: immutable, without unknown keys, and without conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
