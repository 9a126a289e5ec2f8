"""Formats whose library is missing are refused at start, with what to install."""

from __future__ import annotations

import sys

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import InputSection
from forebay.stream.decode.event_formats import event_formats


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("avro", "fastavro", "avro"),
        ("protobuf", "google.protobuf", "protobuf"),
        ("json-schema", "jsonschema_rs", "json-schema"),
        ("arrow", "pyarrow", "arrow"),
        ("image", "PIL", "images"),
    ],
)
def test_a_missing_library_is_reported_with_its_extra(
    name: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = InputSection(formats={"features": name})  # type: ignore[dict-item]
    event_formats(section, prefix="")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=f"the format {name} needs a library") as failure:
        event_formats(section, prefix="")
    assert f"[{extra}]" in str(failure.value.remedy)
