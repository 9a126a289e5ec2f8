"""Names of fields and headers, which can be personal data themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from forebay.stream.privacy.detector import Column, Detector, Finding, findings_of
from forebay.stream.privacy.sampled_record import form_of

MAX_KNOWN: Final = 10_000


class FieldNames:
    """Finds personal data in names. Each name is searched once."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._detectors = tuple(detectors)
        self._known: dict[str, list[Finding]] = {}

    def findings(self, name: str) -> list[Finding]:
        """Return what is found in a name."""
        findings = self._known.get(name)
        if findings is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            findings = self._known[name] = findings_of(self._detectors, Column([name]))
        return findings

    def shown(self, name: str) -> str:
        """Return the name, or its form if personal data is found in it."""
        return form_of(name) if self.findings(name) else name
