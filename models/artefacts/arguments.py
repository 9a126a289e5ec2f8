"""What callers give to constructors: checked, and made the plain Python values that a manifest can hold.

Each function takes the value, its name for messages and the function that makes the error.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Final

import numpy as np

from forebay.schemas.errors import ModelError

Wrong = Callable[[str], ModelError]

_LONGEST_SHOWN: Final = 60


def shown(value: object) -> str:
    """Return a short description of any value, with its type."""
    try:
        text = repr(value)
    except Exception:  # somebody else's __repr__; huge integers have none
        text = "something"
    return f"{text[:_LONGEST_SHOWN]}{'…' if len(text) > _LONGEST_SHOWN else ''} ({type(value).__name__})"


def text(value: object, name: str, wrong: Wrong) -> str:
    """Return the string, or raise."""
    if not isinstance(value, str):
        raise wrong(f"{name} is {shown(value)}; give a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise wrong(f"{name} is {shown(value)}, which is not valid Unicode") from None
    return str(value)


def flag(value: object, name: str, wrong: Wrong) -> bool:
    """Return the truth value, or raise."""
    if not isinstance(value, bool | np.bool_):
        raise wrong(f"{name} is {shown(value)}; give True or False")
    return bool(value)


def whole(value: object, name: str, wrong: Wrong) -> int:
    """Return the whole number, numpy's too, or raise."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise wrong(f"{name} is {shown(value)}; give a whole number")
    return operator.index(value)


def number(value: object, name: str, wrong: Wrong) -> float:
    """Return the number as Python's float, numpy's too, or raise."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise wrong(f"{name} is {shown(value)}; give a number")
    try:
        return float(value)
    except OverflowError:
        raise wrong(f"{name} is {shown(value)}, which is too large") from None


def several(value: object, name: str, of_what: str, wrong: Wrong) -> tuple[object, ...]:
    """Return the items of a tuple, a list or an array of one dimension, or raise."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return tuple(value)
    if not isinstance(value, tuple | list):
        raise wrong(f"{name} is {shown(value)}; give a tuple of {of_what}")
    return tuple(value)


def texts(value: object, name: str, wrong: Wrong) -> tuple[str, ...]:
    """Return the strings, or raise."""
    return tuple(text(item, f"{name}[{at}]", wrong) for at, item in enumerate(several(value, name, "strings", wrong)))


def wholes(value: object, name: str, wrong: Wrong) -> tuple[int, ...]:
    """Return the whole numbers, or raise."""
    items = several(value, name, "whole numbers", wrong)
    return tuple(whole(item, f"{name}[{at}]", wrong) for at, item in enumerate(items))


def numbers(value: object, name: str, wrong: Wrong) -> tuple[float, ...]:
    """Return the numbers, or raise."""
    return tuple(number(item, f"{name}[{at}]", wrong) for at, item in enumerate(several(value, name, "numbers", wrong)))
