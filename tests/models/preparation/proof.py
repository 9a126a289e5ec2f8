"""Compare the training rows of random recipes with what a worker computes, and report how many could be fitted.

python -m tests.models.preparation.proof           1,000 recipes
python -m tests.models.preparation.proof 20000     more of them
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import numpy as np

from tests.models.preparation.recipes import DIVISION, OPTIONS, check_recipe


def random_table(random: np.random.Generator) -> dict[str, Any]:
    """Return a random table of a recipe."""
    step = str(random.choice(sorted(OPTIONS)))
    if step == "combine" and random.random() < 0.5:
        return DIVISION | {"at_zero": [0.0, -1.0, "missing"][random.integers(3)]}
    return {"step": step} | {key: values[random.integers(len(values))] for key, values in OPTIONS[step].items()}


def main(num_recipes: int) -> None:
    """Check recipes one after another; an AssertionError names the first that differs."""
    fitted: Counter[str] = Counter()
    num_fitted = 0
    for seed in range(num_recipes):
        random = np.random.default_rng([seed, 18])
        recipe = [random_table(random) for _ in range(random.integers(1, 6))]
        try:
            is_fitted = check_recipe(recipe, seed)
        except Exception:
            print(f"seed {seed}: {recipe}", file=sys.stderr)
            raise
        if is_fitted:
            num_fitted += 1
            fitted.update(table["step"] for table in recipe)
        if (seed + 1) % 100 == 0:
            print(f"{seed + 1} recipes, {num_fitted} fitted", flush=True)
    print(f"{num_fitted} of {num_recipes} recipes were fitted, and agree off-line and on-line to 1e-6:")
    for step in sorted(OPTIONS):
        print(f"  {step:20s} {fitted[step]:6d}")
    if unused := [step for step in OPTIONS if not fitted[step]]:
        raise SystemExit(f"never fitted: {', '.join(unused)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
