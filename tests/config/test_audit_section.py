"""Settings of the audit: what they require, and how principals are recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.audit_section import AuditSection
from forebay.stream.config.load import load_settings
from forebay.stream.pipeline.audited_access import principal_hash
from forebay.stream.worker.audit_assembly import principal_text, recorded_principals
from tests.config.test_access_section import GOOD, problems

KEY = b"0123456789abcdef"


def test_hashed_principals_need_a_key() -> None:
    audited = GOOD | {"audit.enabled": True}
    assert "audit.principal_key_file" in problems(audited)
    for choice in ("name", "none"):
        load_settings(None, {}, audited | {"audit.principals": choice})
    load_settings(None, {}, audited | {"audit.principal_key_file": "key"})
    load_settings(None, {}, {"audit.enabled": True})  # without rules there are no principals


def test_principals_are_recorded_as_configured(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(KEY + b"\n")
    hashed = principal_hash(KEY, "ann")
    section = AuditSection(principal_key_file=str(file))
    assert principal_text(section)("ann") == hashed != principal_hash(b"f" * 16, "ann")
    assert principal_text(AuditSection(principals="name"))("ann") == "ann"
    assert principal_text(AuditSection(principals="none"))("ann") == ""
    assert recorded_principals(section, "ann") == {"ann", hashed}
    assert recorded_principals(AuditSection(), hashed) == {hashed}


@pytest.mark.parametrize("content, text", [(None, "cannot read"), (b"short\n", "has 5 bytes")])
def test_a_key_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, text: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"audit\.principal_key_file: .*{text}"):
        principal_text(AuditSection(principal_key_file=str(file)))
