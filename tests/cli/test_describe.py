"""`forebay describe` on files."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forebay.stream.cli import main
from tests.brokers.clients import create_topic, producer
from tests.brokers.resolve import Broker
from tests.conftest import Names

CSV = "carrier,dep_delay,late\nUA,3.5,true\nB6,,false\nUA,-1,true\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flights.csv").write_text(CSV)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str, status: int = 0) -> tuple[Any, str]:
        """Run `forebay describe`; return its output, decoded if --json is given, and its errors."""
        assert main(["describe", *arguments]) == status
        done = capsys.readouterr()
        assert "Traceback" not in done.err
        return (json.loads(done.out) if "--json" in arguments and done.out else done.out), done.err

    return run


def test_a_file_is_described(run: Any) -> None:
    out, _ = run("flights.csv")
    assert out.splitlines()[0] == "flights.csv: 3 rows, 3 columns"
    assert "dep_delay   double   1 (33.3%)" in out


def test_the_same_rows_are_described_alike_in_every_format(run: Any, folder: Path) -> None:
    (folder / "flights.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    (folder / "flights.tsv").write_text(CSV.replace(",", "\t"))
    (folder / "semicolons.csv").write_text(CSV.replace(",", ";"))
    rows = [{"carrier": "UA", "dep_delay": 3.5, "late": True}, {"carrier": "B6", "dep_delay": None, "late": False}]
    rows.append({"carrier": "UA", "dep_delay": -1.0, "late": True})
    (folder / "flights.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), folder / "flights.parquet")
    expected = run("flights.csv", "--json")[0]["columns"]
    for name, *options in (
        ("flights.csv.gz",),
        ("flights.tsv",),
        ("semicolons.csv", "--delimiter", ";"),
        ("flights.jsonl",),
        ("flights.parquet",),
    ):
        assert run(name, "--json", *options)[0]["columns"] == expected, name


def test_many_files_are_one_table(run: Any, folder: Path) -> None:
    (folder / "flights2.csv").write_text(CSV)
    document, _ = run("flights*.csv", "--json")
    assert document["rows"] == 6


def test_standard_input_is_described(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "forebay", "describe", "-", "--format", "csv", "--json"],
        input=CSV.encode(),
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["columns"][1]["mean"] == 1.25


def test_columns_are_chosen(run: Any) -> None:
    document, _ = run("flights.csv", "--columns", "late,carrier", "--columns", "late", "--json")
    assert [column["name"] for column in document["columns"]] == ["late", "carrier"]
    _, error = run("flights.csv", "--columns", "carrer", status=2)
    assert "there is no column 'carrer'" in error and "did you mean 'carrier'?" in error


def test_a_column_is_read_as_text(run: Any, folder: Path) -> None:
    (folder / "codes.csv").write_text("zip\n00123\n00123\n")
    assert run("codes.csv", "--json")[0]["columns"][0]["kind"] == "number"
    (column,) = run("codes.csv", "--text-column", "zip", "--json")[0]["columns"]
    assert column["most_frequent"][0]["value"] == "00123"


def test_the_types_of_columns_are_stated(run: Any, folder: Path) -> None:
    (folder / "sales.csv").write_text("when,amount\n2013-07-01,12\n2013-07-03T12:00Z,3\n")
    when, amount = run("sales.csv", "--type", "when=time", "--type", "amount=number", "--json")[0]["columns"]
    assert (when["kind"], when["min"][:19], amount["type"]) == ("timestamp", "2013-07-01T00:00:00", "double")
    _, error = run("sales.csv", "--type", "amount=money", status=2)
    assert "the type of the column amount is 'money'" in error and "number, boolean, time, text" in error
    _, error = run("sales.csv", "--type", "amount", status=2)
    assert "--type 'amount' is not NAME=TYPE" in error


def test_the_first_rows_are_described_and_the_output_says_so(run: Any) -> None:
    document, _ = run("flights.csv", "--max-rows", "2", "--json")
    assert (document["rows"], document["complete"]) == (2, False)
    assert "only the first rows were read (--max-rows)" in run("flights.csv", "--max-rows", "2")[0]
    assert run("flights.csv", "--max-rows", "3", "--json")[0]["complete"]


def test_bad_lines_end_the_command_or_are_counted(run: Any, folder: Path) -> None:
    (folder / "bad.csv").write_text("a,b\n1,2\n3\n4,5\n")
    _, error = run("bad.csv", status=1)
    assert "bad.csv, line 3" in error and "--skip-bad-lines" in error
    document, error = run("bad.csv", "--skip-bad-lines", "--json")
    assert (document["rows"], document["skipped"]) == (2, 1)
    assert "skipped bad.csv, line 3: " in error


def test_a_page_is_written(run: Any, folder: Path) -> None:
    out, error = run("flights.csv", "--html", "flights.html", "--correlations")
    page = (folder / "flights.html").read_text()
    assert page.startswith("<!doctype html>") and "<svg" in page and "Correlations" in page
    assert out.startswith("flights.csv: 3 rows") and "wrote flights.html" in error
    _, error = run("flights.csv", "--html", "nowhere/flights.html", status=1)
    assert "nowhere/flights.html: cannot write the page: No such file or directory" in error


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["nothing.csv"], 1, "nothing.csv: there is no such file"),
        (["."], 1, "folder"),
        (["flights.xls"], 2, "the format cannot be inferred"),
        (["flights.csv", "--delimiter", "ab"], 2, "--delimiter 'ab' is not one character"),
        (["flights.csv", "--format", "parquet"], 1, "flights.csv"),
        (["empty.csv"], 1, "empty.csv: the file is empty"),
        ([], 2, "Missing argument 'FILE|TOPIC'"),
        (["topic://features?form=-7d"], 2, "'form' is not known; allowed are from, to and partitions"),
    ],
)
def test_mistakes_are_explained(run: Any, folder: Path, arguments: list[str], status: int, says: str) -> None:
    (folder / "flights.xls").write_text(CSV)
    (folder / "empty.csv").write_text("")
    _, error = run(*arguments, status=status)
    assert says in error


def test_a_missing_library_is_named_with_its_extra(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("forebay.models.data", "forebay.models.statistics"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    _, error = run("flights.csv", status=2)
    assert "needs pyarrow, which is not installed" in error and "[files]" in error


@pytest.mark.embedded
def test_a_topic_is_described(run: Any, embedded_broker: Broker, names: Names) -> None:
    async def fill() -> None:
        (partition,) = await create_topic(embedded_broker.bootstrap, names("features"), 1)
        async with producer(embedded_broker.bootstrap) as writer:
            for number in range(6):
                event = {"id": f"e{number}", "timestamp": number, "features": {"x": number / 4}}
                await writer.send_and_wait(partition.topic, json.dumps(event).encode(), partition=0)
            await writer.send_and_wait(partition.topic, b"{", partition=0)

    asyncio.run(fill())
    location, broker = f"topic://{names('features')}", ("--bootstrap-server", embedded_broker.bootstrap)
    document, error = run(location, *broker, "--skip-bad-lines", "--columns", "x", "--json")
    assert (document["name"], document["rows"], document["skipped"]) == (location, 6, 1)
    assert document["columns"][0]["quartiles"] == [0.3125, 0.625, 0.9375] and "skipped" in error
    assert "there is no topic" in run(f"topic://{names('other')}", *broker, status=1)[1]


def test_progress_is_shown_on_a_terminal_only(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("flights.csv")[1] == ""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    run("flights.csv")
    assert "3 rows" in terminal.getvalue()
