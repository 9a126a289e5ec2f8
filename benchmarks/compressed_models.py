"""Compress nets for digits and flights and an ensemble of trees by all methods: the tables of docs/compression.md.

    python -m benchmarks.compressed_models                       all; takes about 10 minutes
    python -m benchmarks.compressed_models --model digits --in-worker

Each model is trained from a recipe with a fixed seed, then `forebay models compress --search` measures what each method
gives. The digits are scikit-learn's, the flights those of examples/flights.toml, the trees are of scikit-learn on its tumours.
Speed-ups are ratios of CPU time, measured in turn, so that they are steady on a busy machine too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

_DIGITS: Final = """
[data]
path = "rows.csv"
label = "label"
[model]
architecture = "mlp"
hidden_dims = [256, 128]
[training]
epochs = 40
batch_size = 128
seed = 0
[register]
name = "digits"
backend = "onnx"
"""
_TREES: Final = """
[data]
path = "rows.csv"
label = "label"
[split]
test = 0.3
[model]
architecture = "hist_gradient_boosting"
num_trees = 150
min_rows_per_leaf = 5
[training]
patience = 40
[register]
name = "tumours"
"""
_FLIGHTS: Final = Path("examples/flights.toml")


def _sklearn_rows(folder: Path, load: Callable[..., Any]) -> None:
    rows, labels = load(return_X_y=True)
    names = [f"f{index}" for index in range(rows.shape[1])]
    lines = [",".join([*names, "label"])]
    lines += [
        ",".join([*(f"{value:g}" for value in row), str(int(label))]) for row, label in zip(rows, labels, strict=True)
    ]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")


def _digits(folder: Path) -> str:
    from sklearn.datasets import load_digits

    _sklearn_rows(folder, load_digits)
    return _DIGITS


def _trees(folder: Path) -> str:
    from sklearn.datasets import load_breast_cancer

    _sklearn_rows(folder, load_breast_cancer)
    return _TREES


def _flights(folder: Path) -> str:
    from examples.flights_rows import main

    main(folder / "flights.csv")
    return _FLIGHTS.read_text()


MODELS: Final[Mapping[str, tuple[str, Callable[[Path], str]]]] = {
    "digits": ("digits", _digits),
    "flights": ("flights-late", _flights),
    "trees": ("tumours", _trees),
}


def main(arguments: list[str]) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, action="append", help="one model; may be repeated. default: all")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--in-worker", action="store_true", help="measure the result in workers too")
    parser.add_argument("--plots", type=Path, help="a folder for plots")
    options = parser.parse_args(arguments)
    for name in options.model or MODELS:
        model, write = MODELS[name]
        with tempfile.TemporaryDirectory(prefix="forebay-compressed-") as scratch:
            folder = Path(scratch)
            (folder / "recipe.toml").write_text(write(folder))
            repository = str(folder / "models")
            train = ["train", str(folder / "recipe.toml"), "--quiet", "--report", str(folder / "report")]
            _forebay([*train, "--set", f"register.repository={repository}"])
            compress = ["models", "compress", model, "--repository", repository, "--search", "--no-register"]
            compress += ["--training-recipe", str(folder / "recipe.toml"), "--rounds", str(options.rounds)]
            compress += ["--in-worker"] if options.in_worker else []
            if options.plots is not None:
                options.plots.mkdir(parents=True, exist_ok=True)
                compress += ["--plot", str(options.plots / f"{name}.png")]
            print(f"\n$ forebay {' '.join(compress)}", flush=True)
            _forebay(compress, check=False)  # its status says whether anything may be registered
    return 0


def _forebay(arguments: list[str], *, check: bool = True) -> None:
    subprocess.run([sys.executable, "-m", "forebay", *arguments], check=check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
