"""Generate the files of schemas/json, avro and proto.

`python -m forebay.schemas.generate` lists those out of date; `--write` writes them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from forebay.schemas.binary_outputs import avro_text, binary_outputs, proto_numbers, proto_text
from forebay.schemas.definitions import definitions

FOLDER: Final = Path(__file__).parent
SUBFOLDERS: Final = ("json", "avro", "proto")


def to_text(document: object) -> str:
    """Return the document as JSON for people and version control."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def generated_files() -> dict[str, str]:
    """Return the text of every generated file by its path within `FOLDER`."""
    texts = {f"json/{name}.schema.json": to_text(schema) for name, schema in definitions().items()}
    for name in binary_outputs():
        texts[f"avro/{name}.avsc"] = avro_text(name)
        texts[f"proto/{name}.proto"] = proto_text(name)
    return {**texts, "proto/numbers.json": to_text(proto_numbers())}


def out_of_date(folder: Path) -> list[str]:
    """Return the paths of files below `folder` that are missing, differ, or do not belong there."""
    present = {
        f"{name}/{path.name}": path.read_text(encoding="utf-8")
        for name in SUBFOLDERS
        for path in (folder / name).glob("*")
        if path.is_file()
    }
    generated = generated_files()
    return sorted(name for name in present.keys() | generated.keys() if present.get(name) != generated.get(name))


def write(folder: Path) -> None:
    """Write the generated files to `folder` and delete all others there."""
    for name in SUBFOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    generated = generated_files()
    for name in out_of_date(folder):
        if name in generated:
            (folder / name).write_text(generated[name], encoding="utf-8")
        else:
            (folder / name).unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. The exit status is 1 if files are out of date and --write is not given."""
    parser = argparse.ArgumentParser(prog="python -m forebay.schemas.generate", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the files")
    changed = out_of_date(FOLDER)
    if parser.parse_args(arguments).write:
        write(FOLDER)
    elif changed:
        print("out of date (run with --write): " + ", ".join(changed))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
