"""Messages without the values of events; names that are ours stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.failures import FailureKind
from forebay.stream.aggregate.delta import parse_exemplar
from forebay.stream.core.redaction import MAX_MESSAGE_CHARS, Redactor, redact_again, redact_stack_again
from forebay.stream.decode.features import FeaturePacker, InvalidFeatures

REDACTOR = Redactor(("age", "dep_delay", "it's", "served"))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("feature 'age' is null and must have a value", "feature `age` is null and must have a value"),
        ('feature "it\'s" is null', "feature `it's` is null"),
        ("no feature 'age', 'dep_delay' …", "no feature `age`, `dep_delay` …"),
        ("features[12] is not finite", "`features[12]` is not finite"),
        ("no field 'features' (or 'input')", "no field `features` (or `input`)"),
        (
            "no id: neither a header 'forebay-id' nor a record key",
            "no id: neither a header `forebay-id` nor a record key",
        ),
        ("model 'other' is not served here; 'served' is", "model … is not served here; `served` is"),
        ("feature 'age' is beyond float32", "feature `age` is beyond float32"),
        ("timestamp '12' is neither an RFC 3339 time", "timestamp … is neither an RFC 3339 time"),
        # What is not ours goes, whatever it is written in.
        ("feature 'name' is -3.5e+2", "feature … is …"),
        ('say "hi" 12', "say … …"),
        ("KeyError: `Ada` of ada@example.com", "KeyError: … of …"),
        ("bad value 'a\\'b\"c'", "bad value …"),
        ("plain", "plain"),
    ],
)
def test_messages_keep_names_and_no_values(message: str, expected: str) -> None:
    redacted = REDACTOR.message(message)
    assert redacted == expected
    # The aggregator does not know the names and redacts what it reads once more.
    assert redact_again(redacted) == expected


def test_a_reader_redacts_messages_of_older_workers() -> None:
    assert redact_again("feature 'Ada' is 7 at features[3]") == "feature … is … at …"
    exemplar = parse_exemplar({"message": "`age` is 7", "stack_hash": None, "stack": "ValueError: `age` is 7"})
    assert exemplar is not None and (exemplar.message, exemplar.stack) == ("`age` is …", "ValueError: `age` is …")
    assert redact_stack_again(REDACTOR.stack("  code(7)\nE: 'age' is 7")) == "  code(7)\nE: `age` is …"


@given(name=st.text(max_size=150), value=st.text(alphabet="`'\"\\xyz9 \n", min_size=1))
def test_quoted_values_are_redacted_with_any_quotes_inside(name: str, value: str) -> None:
    redacted = Redactor((name,)).message(f"bad value {value!r}")
    assert redacted == "bad value …" or value == name
    assert len(redact_again(redacted)) <= MAX_MESSAGE_CHARS


def test_redacted_messages_about_a_feature_keep_its_name() -> None:
    packer = FeaturePacker(
        Signature(
            (Feature("age"), Feature("dep_delay"), Feature("carrier", "category", ("UA", "AA"))),
            shape=(3,),
            task="binary",
            output_dim=1,
        )
    )
    redactor = Redactor(("age", "dep_delay", "carrier"))
    for features, kind, expected in (
        ([None, 1, "UA"], FailureKind.MISSING_VALUE, "feature `age` is null and must have a value"),
        ([1, "late", "UA"], FailureKind.WRONG_TYPE, "feature `dep_delay` is a string; a number is expected"),
        ([1, 1e39, "UA"], FailureKind.OUT_OF_RANGE, "feature `dep_delay` is beyond float32"),
        ([1, 1, "ZZ"], FailureKind.UNKNOWN_CATEGORY, "feature `carrier` has a category that the model does not know"),
        ({"age": 1, "carrier": "UA"}, FailureKind.MISSING_FIELD, "no feature `dep_delay`"),
    ):
        with pytest.raises(InvalidFeatures) as caught:
            packer.exact(features)
        assert (caught.value.kind, redactor.message(caught.value.message)) == (kind, expected)
