"""Quantities in messages."""

from __future__ import annotations


def quantity(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or the regular plural: `1 event`, `2,000 events`."""
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"
