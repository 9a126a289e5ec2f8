"""Finds personal data in columns of texts, and applies the policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from forebay.stream.privacy.detector import UNDECODABLE, Column, Detector, Finding, findings_of
from forebay.stream.privacy.policy import Action, Place, Policy, Pseudonyms

_ROW: Final = attrgetter("row")


class Protector:
    """Replaces what the detectors find, and counts it.

    pseudonyms: for the action `hash`; None if no action is.
    counts: findings by detector, place and action.
    """

    def __init__(self, detectors: Sequence[Detector], policy: Policy, pseudonyms: Pseudonyms | None = None) -> None:
        self._detectors = tuple(detectors)
        self._policy = policy
        self._pseudonyms = pseudonyms
        self.counts: Counter[tuple[str, Place, Action]] = Counter()

    def texts(
        self, texts: Sequence[str], place: Place, *, now_ms: int, hints: Sequence[str] = ()
    ) -> dict[int, str | None]:
        """Return the new text of each string that changes, by index; None for one to drop.

        hints: as in `Column`.
        """
        findings = findings_of(self._detectors, Column(texts, hints)) if texts else ()
        return {
            row: text
            for row, of_row in groupby(findings, _ROW)
            if (text := self._replace(texts[row], list(of_row), place, now_ms)) != texts[row]
        }

    def values(
        self, values: Sequence[bytes], place: Place, *, now_ms: int, hints: Sequence[str] = ()
    ) -> dict[int, bytes | None]:
        """Return the same for texts in UTF-8."""
        findings = findings_of(self._detectors, Column.of_bytes(values, hints)) if values else ()
        changed: dict[int, bytes | None] = {}
        for row, of_row in groupby(findings, _ROW):
            text = values[row].decode("utf-8", UNDECODABLE)
            new = self._replace(text, list(of_row), place, now_ms)
            if new != text:
                changed[row] = None if new is None else new.encode("utf-8", UNDECODABLE)
        return changed

    def _replace(self, text: str, findings: list[Finding], place: Place, now_ms: int) -> str | None:
        """Return the text with its findings replaced; None if it is dropped."""
        parts, position, drops = [], 0, False
        for finding in findings:
            action = self._policy.action(finding.detector, place)
            self.counts[finding.detector, place, action] += 1
            drops |= action is Action.DROP
            parts.append(text[position : finding.start])
            found = text[finding.start : finding.end]
            if action is Action.MASK:
                found = f"[{finding.detector}]"
            elif action is Action.HASH and self._pseudonyms is not None:
                found = f"[{finding.detector}:{self._pseudonyms.token(found, now_ms=now_ms)}]"
            parts.append(found)
            position = finding.end
        return None if drops else "".join((*parts, text[position:]))
