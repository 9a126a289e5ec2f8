"""Small tables and recipes for the tests of training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from forebay.models.training.recipe import Recipe, parse_recipe


@dataclass
class MemoryTable:
    """A table in memory as a source of record batches."""

    table: Any
    name: str = "rows.csv"

    def batches(self, rows: int = 65_536) -> Iterator[Any]:
        yield from self.table.to_batches(rows)


def recipe_with(folder: Path, **sections: dict[str, Any]) -> Recipe:
    """Return a recipe that registers in `folder`, with these values."""
    text = f'[data]\npath = "rows.csv"\nlabel = "y"\n[register]\nname = "m"\nrepository = "{folder}/models"\n'
    values = {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}
    return parse_recipe(text).with_values(values)


def weather(rows: int = 400, seed: int = 0) -> Any:
    """Return a table with numbers, texts and missing values, whose label `y` depends on them."""
    random = np.random.default_rng(seed)
    site = random.choice(["attic", "cellar", "kitchen"], rows)
    humidity = random.uniform(30, 70, rows)
    temperature = random.normal(20, 5, rows)
    damp = humidity - temperature + 10 * (site == "cellar") + random.normal(0, 2, rows) > 32
    missing = random.random(rows) < 0.1
    return pa.table(
        {
            "site": site.tolist(),
            "humidity": pa.array(humidity, mask=missing),
            "temperature": temperature,
            "hour": (np.arange(rows) % 24).astype(np.int64),
            "y": np.where(damp, "damp", "fine").tolist(),
        }
    )
