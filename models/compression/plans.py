"""Plans: which methods follow each other. Those that were asked for, or those that a search tries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from forebay.models.compression.methods import (
    AsGraph,
    Distil,
    DynamicInt8,
    FewerTrees,
    Int4,
    Int8,
    Method,
    Prune,
    ShallowerTrees,
    Thresholds,
    Zero,
)
from forebay.models.compression.subject import Subject
from forebay.models.compression.tree_pruning import max_depth
from forebay.schemas.errors import ConfigError

Plan = tuple[Method, ...]

_RATIOS: Final = (0.25, 0.5, 0.75)
_SCALES: Final = (0.5, 0.25)
_SHARES: Final = (0.75, 0.5, 0.25)


@dataclass(frozen=True, slots=True)
class Wishes:
    """The methods that were asked for. None and empty for those that were not.

    prune, zero: the share of the units or weights that leaves. quantise: "int8", "int8-dynamic" or "int4".
    distil: a smaller net. trees: the share of the trees that remains. depth: of trees. thresholds: bits.
    search: try many plans, and not only these methods.
    """

    prune: float | None = None
    zero: float | None = None
    quantise: str | None = None
    distil: Distil | None = None
    trees: float | None = None
    depth: int | None = None
    thresholds: int | None = None
    search: bool = False


def label_of(plan: Sequence[Method]) -> str:
    """Return the labels of the methods, such as `prune 0.5 + int8`."""
    return " + ".join(method.label for method in plan)


def plans_for(wishes: Wishes, subject: Subject) -> tuple[Plan, ...]:
    """Return the plans to measure: those of the search, or each step on the way to all methods together.

    Raises ConfigError if no method was asked for.
    """
    if wishes.search:
        return tuple(_tree_search(subject) if subject.ensemble is not None else _net_search(subject))
    steps = tuple(_steps(wishes))
    if not steps:
        raise ConfigError(
            "no method was asked for",
            kind="compression",
            remedy="give --prune, --quantize, --distill, --trees, --depth or --thresholds, or --search to try many",
        )
    return tuple(steps[: count + 1] for count in range(len(steps)))


def _steps(wishes: Wishes) -> Iterator[Method]:
    """Yield the methods in an order in which each can follow those before: integers come last."""
    if wishes.distil is not None:
        yield wishes.distil
    if wishes.prune is not None:
        yield Prune(wishes.prune)
    if wishes.zero is not None:
        yield Zero(wishes.zero)
    if wishes.trees is not None:
        yield FewerTrees(wishes.trees)
    if wishes.depth is not None:
        yield ShallowerTrees(wishes.depth)
    if wishes.thresholds is not None:
        yield Thresholds(wishes.thresholds)
    if wishes.quantise is not None:
        yield quantisation(wishes.quantise)


def quantisation(name: str) -> Method:
    """Return the method of quantisation with this name. Raises ConfigError for another name."""
    methods: dict[str, Method] = {"int8": Int8(), "int8-dynamic": DynamicInt8(), "int4": Int4()}
    if name not in methods:
        raise ConfigError(f"quantisation to {name!r}", kind="compression", remedy=f"choose {', '.join(methods)}")
    return methods[name]


def _net_search(subject: Subject) -> Iterator[Plan]:
    if subject.layers is None:
        yield (Int8(),)
        yield (Distil(scale=_SCALES[0]),)
        return
    if subject.draft.backend != "onnx":
        yield (AsGraph(),)
    yield (Int8(),)
    yield (Int4(),)
    if len(subject.layers.widths()) < 2:
        return
    for ratio in _RATIOS:
        yield (Prune(ratio),)
        yield (Prune(ratio), Int8())
    for scale in _SCALES:
        yield (Distil(scale=scale),)
        yield (Distil(scale=scale), Int8())


def _tree_search(subject: Subject) -> Iterator[Plan]:
    assert subject.ensemble is not None
    deepest = max_depth(subject.ensemble)
    depths = [depth for depth in sorted({deepest - 1, deepest * 3 // 4, deepest // 2}, reverse=True) if depth >= 1]
    if subject.ensemble.num_trees > 1:
        for share in _SHARES:
            yield (FewerTrees(share),)
    for depth in depths:
        yield (ShallowerTrees(depth),)
        if subject.ensemble.num_trees > 1:
            yield (FewerTrees(0.5), ShallowerTrees(depth))
    yield (Thresholds(6),)
