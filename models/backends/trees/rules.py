"""The rules of an ensemble: how its nodes compare, and how the leaves of a row become its outputs. Stored in `params`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast

from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.signature import MAX_FEATURES
from forebay.schemas.errors import ModelError

Comparison = Literal["<", "<="]
Aggregate = Literal["sum", "average"]
MissingPolicy = Literal["default", "refused"]
Link = Literal["identity", "exp", "sigmoid", "signed_square", "log1p_exp", "isolation"]

COMPARISONS: Final = ("<", "<=")
AGGREGATES: Final = ("sum", "average")
MISSING_POLICIES: Final = ("default", "refused")
LINKS: Final = ("identity", "exp", "sigmoid", "signed_square", "log1p_exp", "isolation")
MAX_OUTPUTS: Final = 65_536


@dataclass(frozen=True, slots=True)
class EnsembleRules:
    """The rules of an ensemble.

    num_features: the number of values in a prepared row.
    comparison: a numeric split sends a row to the left if `value < threshold` or `value <= threshold`. Values are float32,
        thresholds float64; both are compared as float64, which holds every float32.
    aggregate: each output is the sum of its trees' leaves, or their average. The base score is added afterwards.
    missing: "default": NaN goes to the default side of each node; "refused": a row with NaN gives NaN.
    link: applied to each output at the end, in float64:
        "identity" nothing; "exp" e**z; "sigmoid" 1 / (1 + e**-z); "signed_square" sign(z) * z**2; "log1p_exp"
        log(1 + e**z); "isolation" 2**(-z / scale).
    scale: of the link "isolation": the average depth of a row that cannot be isolated. 1 for other links.
    """

    num_features: int
    num_outputs: int
    comparison: Comparison = "<="
    aggregate: Aggregate = "sum"
    missing: MissingPolicy = "default"
    link: Link = "identity"
    scale: float = 1.0

    def to_params(self) -> dict[str, object]:
        """Return the rules as JSON values for the `params` of a manifest."""
        return {
            "num_features": self.num_features,
            "num_outputs": self.num_outputs,
            "comparison": self.comparison,
            "aggregate": self.aggregate,
            "missing": self.missing,
            "link": self.link,
            "scale": self.scale,
        }

    @classmethod
    def from_params(cls, params: Mapping[str, object], place: str) -> EnsembleRules:
        """Return the rules in the `params` of a manifest. Raises ModelError that names `place`, the key and what is allowed."""
        fields = JsonObject(dict(params), place, "params")
        fields.reject_unknown_keys(
            {"num_features", "num_outputs", "comparison", "aggregate", "missing", "link", "scale"}
        )
        rules = cls(
            num_features=fields.integer("num_features", minimum=1),
            num_outputs=fields.integer("num_outputs", minimum=1),
            comparison=cast("Comparison", fields.text("comparison", COMPARISONS)),
            aggregate=cast("Aggregate", fields.text("aggregate", AGGREGATES)),
            missing=cast("MissingPolicy", fields.text("missing", MISSING_POLICIES)),
            link=cast("Link", fields.text("link", LINKS)),
            scale=fields.number("scale"),
        )
        rules.check(place)
        return rules

    def check(self, place: str) -> None:
        """Raise ModelError that names `place` unless every value is allowed."""
        for name, value, allowed in (
            ("comparison", self.comparison, COMPARISONS),
            ("aggregate", self.aggregate, AGGREGATES),
            ("missing", self.missing, MISSING_POLICIES),
            ("link", self.link, LINKS),
        ):
            if value not in allowed:
                raise _error(place, f"{name} is {str(value)[:80]!r}; allowed is {', '.join(allowed)}")
        for name, number, maximum in (
            ("num_features", self.num_features, MAX_FEATURES),
            ("num_outputs", self.num_outputs, MAX_OUTPUTS),
        ):
            if not 1 <= number <= maximum:
                raise _error(place, f"{name} is {number}; allowed is from 1 to {maximum}")
        if not 1e-30 < self.scale < 1e30:
            raise _error(place, f"scale is {self.scale}; allowed is a positive number")
        if self.link != "isolation" and self.scale != 1.0:
            raise _error(place, f"scale is {self.scale}; allowed with the link {self.link} is 1")


def _error(place: str, problem: str) -> ModelError:
    return ModelError(f"{place}: params: {problem}", kind="trees", remedy="publish the model again")
