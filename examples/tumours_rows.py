"""Write the breast cancer data that scikit-learn has as a table, for `forebay train examples/tumours.toml`.

python examples/tumours_rows.py examples/tumours.csv
forebay train examples/tumours.toml
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(path: Path) -> int:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    rows = data.data.rename(columns=lambda name: name.replace(" ", "_"))
    rows.insert(0, "id", [f"t{number:03}" for number in range(len(rows))])
    rows["diagnosis"] = data.target.map(lambda code: data.target_names[code])
    rows.to_csv(path, index=False)
    print(f"wrote {len(rows)} rows to {path}")
    return len(rows)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/tumours_rows.py TUMOURS.csv")
    try:
        main(Path(sys.argv[1]))
    except OSError as error:
        sys.exit(f"{error.filename}: cannot be written: {error.strerror}")
