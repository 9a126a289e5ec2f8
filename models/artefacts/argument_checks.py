"""Check constructor arguments and convert them to plain Python values that a manifest can hold.

Each function takes the value, its name for messages, and a function that creates the error from a message.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Final

import numpy as np

from forebay.schemas.errors import ModelError

ErrorFactory = Callable[[str], ModelError]

_MAX_SHOWN_CHARS: Final = 60


def describe(value: object) -> str:
    """Return a short description of any value, with its type."""
    try:
        text = repr(value)
    except Exception:  # a foreign __repr__ may raise anything; huge integers have no text
        text = "something"
    return f"{text[:_MAX_SHOWN_CHARS]}{'…' if len(text) > _MAX_SHOWN_CHARS else ''} ({type(value).__name__})"


def text(value: object, name: str, error: ErrorFactory) -> str:
    """Return the string. Raises `error` for any other value."""
    if not isinstance(value, str):
        raise error(f"{name} is {describe(value)}; give a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise error(f"{name} is {describe(value)}, which is not valid Unicode") from None
    return str(value)


def boolean(value: object, name: str, error: ErrorFactory) -> bool:
    """Return the truth value. Raises `error` for any other value."""
    if not isinstance(value, bool | np.bool_):
        raise error(f"{name} is {describe(value)}; give True or False")
    return bool(value)


def integer(value: object, name: str, error: ErrorFactory) -> int:
    """Return the whole number, Python's or numpy's, as int. Raises `error` for any other value."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise error(f"{name} is {describe(value)}; give a whole number")
    return operator.index(value)


def number(value: object, name: str, error: ErrorFactory) -> float:
    """Return the number, Python's or numpy's, as float. Raises `error` for any other value."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise error(f"{name} is {describe(value)}; give a number")
    try:
        return float(value)
    except OverflowError:
        raise error(f"{name} is {describe(value)}, which is too large") from None


def sequence(value: object, name: str, of_what: str, error: ErrorFactory) -> tuple[object, ...]:
    """Return the items of a tuple, a list or a one-dimensional array. Raises `error` for any other value."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return tuple(value)
    if not isinstance(value, tuple | list):
        raise error(f"{name} is {describe(value)}; give a tuple of {of_what}")
    return tuple(value)


def texts(value: object, name: str, error: ErrorFactory) -> tuple[str, ...]:
    """Return the strings. Raises `error` for any other value."""
    return tuple(
        text(item, f"{name}[{index}]", error) for index, item in enumerate(sequence(value, name, "strings", error))
    )


def integers(value: object, name: str, error: ErrorFactory) -> tuple[int, ...]:
    """Return the whole numbers. Raises `error` for any other value."""
    items = sequence(value, name, "whole numbers", error)
    return tuple(integer(item, f"{name}[{index}]", error) for index, item in enumerate(items))


def numbers(value: object, name: str, error: ErrorFactory) -> tuple[float, ...]:
    """Return the numbers. Raises `error` for any other value."""
    return tuple(
        number(item, f"{name}[{index}]", error) for index, item in enumerate(sequence(value, name, "numbers", error))
    )
