"""The model card and the bill of materials that come with every version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from forebay.models.artefacts.artefact import read_artefact, read_version
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.ml_bom import BOM_FILE, bill_of_materials
from forebay.models.artefacts.model_card import CARD_FILE, model_card
from forebay.models.artefacts.publication import Draft, publish_version
from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.errors import ModelError
from tests.models.build import load_artefact, make_net, make_signature, publish


def bom(folder: Path) -> dict[str, Any]:
    """Return the bill of materials of a version, which is valid by the schema of CycloneDX 1.6."""
    text = (folder / BOM_FILE).read_text()
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert problem is None, problem
    document: dict[str, Any] = json.loads(text)
    return document


def card(folder: Path) -> str:
    return (folder / CARD_FILE).read_text()


def test_the_bill_of_materials_lists_every_other_file_with_its_digest(tmp_path: Path) -> None:
    publish(tmp_path)
    folder = publish(tmp_path, parent=1, licence="Apache-2.0")
    document = bom(folder)
    listed = {file["name"]: file["hashes"] for file in document["components"]}
    assert listed == {
        file.name: [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}]
        for file in folder.iterdir()
        if file.name not in {BOM_FILE, "manifest.json"}
    }
    assert set(listed) == {"weights.safetensors", "golden.safetensors", CARD_FILE}
    model = document["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "delays", "2")
    assert model["pedigree"]["ancestors"] == [{"type": "machine-learning-model", "name": "delays", "version": "1"}]
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "accuracy", "value": "0.30000000000000004"},
        {"type": "loss", "value": "1e-300"},
    ]
    assert model["modelCard"]["modelParameters"]["modelArchitecture"] == "mlp"
    assert document["dependencies"] == [{"ref": "model:delays@2", "dependsOn": [f"file:{name}" for name in listed]}]


@pytest.mark.parametrize(
    ("licence", "written"),
    [
        ("MIT", {"license": {"id": "MIT"}}),
        ("MIT OR Apache-2.0", {"expression": "MIT OR Apache-2.0"}),
        ("MIT OR", {"license": {"name": "MIT OR"}}),
        ("for internal use only", {"license": {"name": "for internal use only"}}),
        ("Proprietary", {"license": {"name": "Proprietary"}}),
        ("(MIT)", {"license": {"name": "(MIT)"}}),
    ],
)
def test_a_licence_of_any_text_is_valid_in_the_bill_of_materials(
    tmp_path: Path, licence: str, written: dict[str, object]
) -> None:
    assert bom(publish(tmp_path, licence=licence))["metadata"]["component"]["licenses"] == [written]


def test_a_bill_of_materials_without_optional_parts_is_valid(tmp_path: Path) -> None:
    model = bom(publish(tmp_path, note="", licence="", metrics={}))["metadata"]["component"]
    assert not {"description", "licenses", "pedigree"} & model.keys()
    assert "quantitativeAnalysis" not in model["modelCard"]


def test_the_card_says_what_a_person_needs_to_know(tmp_path: Path) -> None:
    publish(tmp_path)
    page = card(publish(tmp_path, parent=1, licence="Apache-2.0"))
    for line in (
        "# delays, version 2",
        "A model for multiclass classification, run by the backend `torch` (mlp) of Forebay.",
        "trained by a test – with a dash",
        "| f0 | float32 | no |  |",
        "| f1 | float32 | yes |  |",
        "2 for each row: logits, which become probabilities when they are served.",
        "Classes, in order: no, yes.",
        "1. standardise: 3 columns in, 3 out",
        "| accuracy | 0.3 |",
        "| created | 2026-11-02T09:30:00+00:00 |",
        "| made from | version 1 |",
        "| licence | Apache-2.0 |",
        "forebay run --set model.name=delays --set model.version=2",
    ):
        assert line in page.splitlines(), line
    assert f"| `weights.safetensors` | {(tmp_path / 'delays/2/weights.safetensors').stat().st_size} | `" in page
    assert "Allowed is a difference of" in page and "runs when it is loaded" not in page


def test_both_are_listed_in_the_manifest_and_verified(tmp_path: Path) -> None:
    folder = publish(tmp_path)
    assert {CARD_FILE, BOM_FILE} <= load_artefact(tmp_path, "delays").manifest.files.keys()
    (folder / CARD_FILE).write_text("# better\n")
    with pytest.raises(ModelError, match=r"README\.md: the file has 9 bytes, but manifest\.json states"):
        load_artefact(tmp_path, "delays")


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = publish(tmp_path / "a"), publish(tmp_path / "b")
    for name in (CARD_FILE, BOM_FILE, "manifest.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert bom(first)["serialNumber"] != bom(publish(tmp_path / "a"))["serialNumber"], "another version"


def test_texts_are_not_taken_as_markup(tmp_path: Path) -> None:
    signature = Signature(
        (Feature("a|b"), Feature("<script>"), Feature("c", "category", ("x\n# y", "[z](u)"))),
        (3,),
        task="multiclass",
        output_dim=2,
    )
    folder = publish(tmp_path, signature=signature, note="one\n\n| two\x1b[31m", licence="`x`")
    page = card(folder)
    assert "| a\\|b | float32 |" in page and "\\<script\\>" in page and "<script>" not in page
    assert "x \\# y, \\[z\\](u)" in page and "\\`x\\`" in page and "\x1b" not in page
    assert bom(folder)["metadata"]["component"]["description"] == "one\n\n| two\x1b[31m"


def test_long_lists_are_cut_and_counted(tmp_path: Path) -> None:
    labels = tuple(f"class {number}" for number in range(30))
    folder = publish(
        tmp_path,
        net=make_net(input_dim=300, output_dim=30),
        signature=make_signature(300, output_dim=30, labels=labels),
        preprocessing=None,
        metrics={f"m{number}": 1.0 for number in range(1100)},
        note="n" * 50_000,
    )
    page, document = card(folder), bom(folder)
    assert "And 100 more, which are in `manifest.json`." in page and "class 19 (and 10 more)." in page
    assert "| m99 | 1 |" in page and "| m100 |" not in page and "And 1000 more" in page
    assert len(document["metadata"]["component"]["description"]) == 20_000
    assert len(document["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]) == 1000


def test_a_draft_cannot_bring_files_of_these_names(tmp_path: Path) -> None:
    publish(tmp_path)
    artefact = read_artefact(read_version(tmp_path, "delays"))
    manifest, golden = artefact.manifest, artefact.golden
    assert golden is not None
    draft = Draft(
        "delays",
        "torch",
        files={**artefact.contents, CARD_FILE: b""},
        signature=manifest.signature,
        preprocessing=manifest.preprocessing,
        provenance=manifest.provenance,
        architecture=manifest.architecture,
        params=manifest.params,
    )
    with pytest.raises(ModelError, match=r"the files include README\.md, which Forebay writes itself"):
        publish_version(tmp_path, draft, golden)


def test_they_depend_on_nothing_but_the_manifest(tmp_path: Path) -> None:
    folder = publish(tmp_path)
    manifest = Manifest.from_json((folder / "manifest.json").read_bytes(), "manifest.json")
    entries = dict(manifest.files)
    del entries[BOM_FILE]
    assert bill_of_materials(replace(manifest, files=entries)) == (folder / BOM_FILE).read_bytes()
    del entries[CARD_FILE]
    assert model_card(replace(manifest, files=entries)) == (folder / CARD_FILE).read_bytes()
