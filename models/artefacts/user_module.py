"""The user's own module that a version names instead of holding code: its entry in the manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from forebay.schemas.errors import ModelError

MODULE_BACKEND: Final = "python-module"
MODULE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_MAX_CHARS: Final = 256
_KEYS: Final = ("module", "object")


class UserModule(NamedTuple):
    """An object at the top level of a module."""

    module: str
    name: str

    def params(self) -> dict[str, object]:
        """Return the parameters for the manifest."""
        return {"module": self.module, "object": self.name}

    def is_in(self, allowed: frozenset[str]) -> bool:
        """Return whether a list of modules and packages covers this one."""
        parts = self.module.split(".")
        return any(".".join(parts[:end]) in allowed for end in range(1, len(parts) + 1))


def read_user_module(params: Mapping[str, object], place: str) -> UserModule:
    """Return the module and the object that the parameters of a manifest name. Raises ModelError. Imports nothing.

    place: the start of messages: the manifest's path.
    """
    unknown = sorted(params.keys() - set(_KEYS))
    module, name = (params.get(key) for key in _KEYS)
    if (
        unknown
        or not isinstance(module, str)
        or not isinstance(name, str)
        or max(len(module), len(name)) > _MAX_CHARS
        or not MODULE_NAME.fullmatch(module)
        or not name.isidentifier()
    ):
        raise ModelError(
            f"{place}: params must have module, such as shop.scoring, and object, a name in it, and nothing else",
            kind="manifest",
            remedy="publish the model again with `forebay models register MODULE:OBJECT`",
        )
    return UserModule(module, name)
