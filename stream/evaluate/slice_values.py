"""The slices of rows, as "name=value", with a limit on the values of each name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

OTHER: Final = "other"
MAX_VALUE_CHARS: Final = 100


class SliceValues:
    """Writes slices as texts. After `max_values` values of a name, further ones are counted together, as `other`.

    names: the slices, at most four.
    """

    def __init__(self, names: Sequence[str], *, max_values: int) -> None:
        self.names = tuple(names)
        self._max_values = max_values
        self._texts: dict[str, dict[object, str]] = {name: {} for name in names}

    def texts(self, fields: object) -> tuple[str, ...]:
        """Return the text of each name that an object has a text, number or boolean for. Never raises."""
        if not isinstance(fields, Mapping):
            return ()
        return tuple(
            self._text(name, value)
            for name in self.names
            if (value := fields.get(name)) is not None and isinstance(value, str | int | float)
        )

    def _text(self, name: str, value: str | int | float) -> str:
        shown = ("true" if value else "false") if isinstance(value, bool) else str(value)[:MAX_VALUE_CHARS]
        known = self._texts[name]
        text = known.get(shown)
        if text is None:
            if len(known) >= self._max_values:
                return f"{name}={OTHER}"
            text = known[shown] = f"{name}={shown}"
        return text
