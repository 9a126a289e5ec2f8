"""The steps that a recipe can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from forebay.models.preparation.bins import BinStep
from forebay.models.preparation.columns import CastStep, DropColumnsStep, RenameStep, SelectColumnsStep
from forebay.models.preparation.combine import CombineStep, CyclicStep, ProductsStep
from forebay.models.preparation.duplicates import DropDuplicatesStep
from forebay.models.preparation.embedding import EmbeddingStep
from forebay.models.preparation.impute import ImputeStep
from forebay.models.preparation.missing import DropMissingStep, FlagMissingStep, InfiniteStep
from forebay.models.preparation.outliers import OutliersStep
from forebay.models.preparation.recipe_step import RecipeStep
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.scale import MinMaxStep, RobustStep, StandardiseStep
from forebay.models.preparation.select import SelectStep
from forebay.models.preparation.shape import ClipStep, LogStep, PowerStep, QuantileStep
from forebay.models.preparation.target import TargetStep
from forebay.models.preparation.text_steps import FrequencyStep, LabelStep, OneHotStep, RareStep

STEPS: Final[Mapping[str, Callable[[RecipeTable], RecipeStep]]] = MappingProxyType(
    {
        DropDuplicatesStep.kind: DropDuplicatesStep.read,
        DropMissingStep.kind: DropMissingStep.read,
        InfiniteStep.kind: InfiniteStep.read,
        FlagMissingStep.kind: FlagMissingStep.read,
        ImputeStep.kind: ImputeStep.read,
        OutliersStep.kind: OutliersStep.read,
        StandardiseStep.kind: StandardiseStep.read,
        MinMaxStep.kind: MinMaxStep.read,
        RobustStep.kind: RobustStep.read,
        QuantileStep.kind: QuantileStep.read,
        PowerStep.kind: PowerStep.read,
        LogStep.kind: LogStep.read,
        ClipStep.kind: ClipStep.read,
        BinStep.kind: BinStep.read,
        CombineStep.kind: CombineStep.read,
        ProductsStep.kind: ProductsStep.read,
        CyclicStep.kind: CyclicStep.read,
        SelectStep.kind: SelectStep.read,
        SelectColumnsStep.kind: SelectColumnsStep.read,
        DropColumnsStep.kind: DropColumnsStep.read,
        RenameStep.kind: RenameStep.read,
        CastStep.kind: CastStep.read,
        OneHotStep.kind: OneHotStep.read,
        LabelStep.kind: LabelStep.read,
        TargetStep.kind: TargetStep.read,
        FrequencyStep.kind: FrequencyStep.read,
        RareStep.kind: RareStep.read,
        EmbeddingStep.kind: EmbeddingStep.read,
    }
)
"""The readers of steps, by the value of `step` in their table."""
