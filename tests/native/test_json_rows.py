"""The compiled reader of events and its twin decode the same polls to the same chunks, bit by bit."""

from __future__ import annotations

import json
import struct
import tracemalloc
from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.stream import native
from forebay.stream.decode import one_model
from forebay.stream.decode.features import MAX_FLOAT32
from tests.native.build import decode, facts

pytestmark = pytest.mark.skipif(native.json_rows is None, reason="the compiled part is not built")

PLAIN = Signature((), (3,), "binary", 1)
NAMED = Signature((Feature("a"), Feature("ä b", nullable=True), Feature("aa")), (3,), "binary", 1)
GRID = Signature((), (2, 2), "binary", 1)
SIGNATURES = (PLAIN, NAMED, GRID)
NOW = 1_790_000_000_000
INSERTED = (
    *(b" ", b",", b"[", b"]", b"{", b"}", b'"', b"\\", b"0", b"9", b"-", b".", b"e", b"null", b"1e5"),
    *(b"\xff", b"\xc3\xa4", b"\x00", b"\n", b'"id":"x",', b'"model":null,'),
)


def reader(signature: Signature = PLAIN) -> Any:
    assert native.json_rows is not None
    nullable = bytes(feature.nullable for feature in signature.features) or bytes(signature.num_features)
    names = tuple(feature.name.encode() for feature in signature.features)
    return native.json_rows.RowReader(signature.shape, names, nullable)


def read(
    *values: bytes | None, signature: Signature = PLAIN
) -> tuple[list[str], list[int], list[int], list[list[float]]]:
    x_BF = np.full((len(values), signature.num_features), 7, dtype="<f4")
    ids, timestamps, others = reader(signature).read(values, x_BF)
    return ids, timestamps, others, x_BF[: len(ids)].tolist()


def event(features: str, *, id: str = '"e"', timestamp: str = str(NOW)) -> bytes:
    return f'{{"id":{id},"timestamp":{timestamp},"features":{features}}}'.encode()


def test_plain_events_become_rows_without_the_twin() -> None:
    spaced = json.dumps({"features": [1, 2.5, -3e2], "timestamp": NOW, "id": "bä"}, indent=1, ensure_ascii=False)
    ids, timestamps, others, rows = read(event("[1,2,3]"), None, spaced.encode(), b"", event("[4,5,6]", timestamp="0"))
    assert (ids, timestamps, others) == (["e", "bä", "e"], [NOW, NOW, 0], [1, 3])
    assert rows == [[1, 2, 3], [1, 2.5, -300], [4, 5, 6]]


def test_features_by_name_come_in_any_order_and_may_be_absent_where_they_may_be_null() -> None:
    texts = ['{"a":1,"ä b":2,"aa":3}', '{"aa":3, "a":1, "ä b":null}', '{"a":1,"aa":3}', "[1,null,3]", '{"a":1,"ä b":2}']
    texts += ['{"a":null,"ä b":2,"aa":3}', '{"a":1,"a":1,"aa":3}', '{"a":1,"ä b":2,"aa":3,"x":4}', "{}"]
    ids, _, others, rows = read(*map(event, texts), signature=NAMED)
    assert len(ids) == 4 and others == [4, 5, 6, 7, 8]
    np.testing.assert_array_equal(rows, [[1, 2, 3], [1, np.nan, 3], [1, np.nan, 3], [1, np.nan, 3]])


def test_nested_arrays_have_the_shape_of_the_signature() -> None:
    texts = ["[[1,2],[3,4]]", "[1,2,3,4]", " [ [ 1 , 2 ] , [ 3 , 4 ] ] ", "[[1,2,3,4]]", "[[1,2],3,4]", "[[1,2],[3]]"]
    _, _, others, rows = read(*map(event, texts), signature=GRID)
    assert others == [3, 4, 5] and rows == [[1, 2, 3, 4]] * 3


REFUSED = [
    "01",
    "-",
    "1.",
    ".5",
    "1e",
    "1e+",
    "+1",
    "0x1",
    "NaN",
    "Infinity",
    "-Infinity",
    "1_0",
    "true",
    "null",
    "[1]",
    "--1",
    "1.e3",
    "-0",
    "3.5e38",
    "1e400",
    "12345678901234567890",
]


@pytest.mark.parametrize("number", [*REFUSED, '"1"'])
def test_what_is_not_plainly_a_number_is_left_to_the_exact_path(number: str) -> None:
    assert read(event(f"[1,2,{number}]"), event(f"[{number},2,3]"))[2] == [0, 1]


@pytest.mark.parametrize("text", [
    event("[1,2,3]")[:-1], event("[1,2,3]") + b"x", b"[]", b"{}", event("[1,2]"), event("[1,2,3,4]"), event("[1,2,3]", id="1"),
    event("[1,2,3]", id='""'), event("[1,2,3]", id=r'"\n"'), event("[1,2,3]", id='"\n"'), event("[1,2,3]", timestamp="1.0"),
    event("[1,2,3]", timestamp="-1"), event("[1,2,3]", timestamp="01"), event("[1,2,3]", timestamp=str(MAX_TIMESTAMP_MS + 1)),
    event("[1,2,3],"), event("[1,2,3]").replace(b"id", b"Id"), b'{"id":"e",' + event("[1,2,3]")[1:], b'"' * 9, b"{" * 99,
    event("[1,2,3]", id='"\N{EURO SIGN}"').replace(b"\x82", b""), event("[1,2,3]").replace(b"e", b"\xed\xa0\x80", 1),
])  # fmt: skip
def test_what_is_not_plainly_an_event_is_left_to_the_exact_path(text: bytes) -> None:
    assert read(text)[2] == [0]


def test_no_beginning_of_an_event_is_one() -> None:
    for signature, features in ((PLAIN, "[1.5,-2e1,3]"), (NAMED, '{"a":1,"ä b":null,"aa":3}'), (GRID, "[[1,2],[3,4]]")):
        whole = event(features)
        _, _, others, _ = read(*(whole[:end] for end in range(len(whole))), signature=signature)
        assert others == list(range(len(whole)))
        assert read(whole, signature=signature)[2] == []


def test_ids_are_valid_utf8_as_python_defines_it() -> None:
    rng = Random(5)
    pieces = [bytes((first, second)) for first, second in product(range(0x7E, 0x100, 3), range(0x7E, 0x100, 3))]
    starts = (0x7F, 0x80, 0x90, 0x9F, 0xA0, 0xBF, 0xC2, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5)
    pieces += [bytes(rng.choices(starts, k=rng.randint(1, 5))) for _ in range(20_000)]
    for code in (0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF):
        pieces.append(chr(code).encode())

    def is_valid(text: bytes) -> bool:
        try:
            return bool(text.decode())
        except UnicodeDecodeError:
            return False

    _, _, others, _ = read(*(b'{"id":"%b","timestamp":1,"features":[1,2,3]}' % piece for piece in pieces))
    assert others == [index for index, piece in enumerate(pieces) if not is_valid(piece)]


def number_texts(rng: Random, count: int) -> list[str]:
    """Return texts of numbers: short ones, shortest forms of float32 and float64, midpoints, and long or far ones."""
    texts = []
    for _ in range(count):
        kind = rng.randrange(8)
        if kind == 0:
            texts.append(repr(round(rng.gauss(0, 10 ** rng.randrange(6)), rng.randrange(8))))
        elif kind == 1:
            texts.append(repr(rng.gauss(0, 1) * 10.0 ** rng.randrange(-30, 30)))
        elif kind == 2:
            texts.append(repr(struct.unpack("<d", rng.randbytes(8))[0]))
        elif kind == 3:
            texts.append(str(struct.unpack("<f", rng.randbytes(4))[0]))
        elif kind == 4:
            bits = rng.getrandbits(31)
            midpoint = (
                struct.unpack("<f", struct.pack("<I", bits))[0] + struct.unpack("<f", struct.pack("<I", bits + 1))[0]
            )
            texts.append(f"{midpoint / 2:.{rng.randrange(1, 20)}g}")
        elif kind == 5:
            texts.append(f"{rng.getrandbits(64)}e{rng.randrange(-70, 40)}")
        elif kind == 6:
            texts.append(f"{rng.getrandbits(rng.randrange(1, 66)) - 2**30}")
        else:
            texts.append(f"0.{'0' * rng.randrange(25)}{rng.getrandbits(60)}")
    return [text.replace("nan", "0").replace("inf", "1") for text in texts]


def check_numbers(seed: int, count: int) -> None:
    """Check that numbers are read as the same bits as Python reads them, if they are read."""
    texts = number_texts(Random(seed), count)
    single = Signature((), (1,), "binary", 1)
    x_BF = np.empty((count, 1), dtype="<f4")
    ids, _, others = reader(single).read([event(f"[{text}]") for text in texts], x_BF)
    refused = set(others)
    read_texts = [text for index, text in enumerate(texts) if index not in refused]
    expected = b"".join(struct.pack("<f", float(text)) for text in read_texts)
    if x_BF[: len(ids)].tobytes() != expected:
        wanted = np.frombuffer(expected, dtype="<u4")
        place = int(np.flatnonzero(x_BF[: len(ids), 0].view("<u4") != wanted)[0])
        raise AssertionError(f"{read_texts[place]} was read as {x_BF[place, 0]!r}")
    plain = [
        text for index, text in enumerate(texts) if index in refused and "e" not in text.lower() and len(text) < 18
    ]
    assert all(abs(float(text)) >= MAX_FLOAT32 or text == "-0" for text in plain), plain[:5]
    assert len(refused) < count / 2


def test_numbers_have_the_bits_that_python_gives_them() -> None:
    check_numbers(1, 40_000)


def test_the_largest_numbers() -> None:
    texts = [
        repr(MAX_FLOAT32),
        repr(np.nextafter(MAX_FLOAT32, 0)),
        "-3.4028235677973366e38",
        "3.4028234e38",
        str(2**128),
    ]
    for text in texts:
        poll = [event(f"[{text},0,1]")]
        assert facts(decode(PLAIN, poll, compiled=True)) == facts(decode(PLAIN, poll, compiled=False)), text


def mutated(rng: Random, value: bytes) -> bytes:
    text = bytearray(value)
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        place = rng.randrange(len(text) + 1)
        match rng.randrange(5):
            case 0:
                del text[place : place + rng.randrange(1, 4)]
            case 1:
                text[place:place] = rng.choice(INSERTED)
            case 2 if text:
                text[place % len(text)] = rng.randrange(256)
            case 3:
                end = place + rng.randrange(12)
                text[place:place] = text[place:end]
            case _:
                other = rng.randrange(len(text) + 1)
                text[place:other] = text[other:place]
    return bytes(text)


def check_mutations(seed: int, count: int, values: int = 64) -> None:
    """Decode polls of mutated events with the compiled part and without."""
    rng = Random(seed)
    features = {
        PLAIN: ["[1,2,3]", "[0.1234,-5.678e-3,12345678.9]", "[ 1.0 , 2.00 , 3e2 ]", '"AACAPwAAAEAAAEBA"'],
        NAMED: ['{"a":1,"ä b":2.5,"aa":-3}', '{"aa":1e-3,"a":5}', "[1,null,3]", '{"a":1,"\\u00e4 b":2,"aa":3}'],
        GRID: ["[[1,2],[3,4.5]]", "[1,2,3,4]", "[ [1, 2], [-3e1, 4] ]"],
    }
    ids = ['"e-1"', '"ä"', "17", r'"a\"b"', '"\U0001f600"']
    times = [str(NOW), "0", '"2026-07-01T00:00:00Z"', str(MAX_TIMESTAMP_MS)]
    for number in range(count):
        signature = SIGNATURES[number % len(SIGNATURES)]
        poll = [
            mutated(rng, event(rng.choice(features[signature]), id=rng.choice(ids), timestamp=rng.choice(times)))
            for _ in range(values)
        ]
        expected = facts(decode(signature, poll, compiled=False))
        for as_columns in (False, True):
            found = facts(decode(signature, poll, compiled=True, as_columns=as_columns))
            assert found == expected, (seed, number, as_columns)


def test_mutated_events_decode_alike() -> None:
    check_mutations(2, 60)


numbers = st.floats(allow_nan=False, width=32) | st.floats() | st.integers(-(2**70), 2**70) | st.none() | st.booleans()
documents = st.fixed_dictionaries(
    {
        "id": st.text(min_size=0, max_size=6) | st.integers(-5, 2**70),
        "timestamp": st.integers(-1, MAX_TIMESTAMP_MS + 1) | st.just("2026-07-01T00:00:00Z"),
        "features": st.lists(numbers, min_size=3, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "ä b", "aa", "b"]), numbers)
        | st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=2, max_size=2),
    },
    optional={"model": st.sampled_from([None, "churn"]), "key": st.text(max_size=2), "x": numbers},
)


@given(
    st.sampled_from(SIGNATURES), st.lists(st.tuples(documents, st.booleans(), st.booleans()), min_size=1, max_size=4)
)
def test_any_events_decode_alike(signature: Signature, poll: list[tuple[Any, bool, bool]]) -> None:
    values = [
        json.dumps(document, ensure_ascii=ascii_only, indent=2 if indented else None).encode(errors="surrogatepass")
        for document, ascii_only, indented in poll
    ]
    assert facts(decode(signature, values, compiled=True)) == facts(decode(signature, values, compiled=False))


def test_a_matrix_that_is_too_small_or_not_writable_is_refused() -> None:
    for x_BF in (np.empty((1, 3), dtype="<f4"), np.frombuffer(bytes(24), dtype="<f4").reshape(2, 3)):
        with pytest.raises((ValueError, BufferError)):
            reader().read([event("[1,2,3]")] * 2, x_BF)
    with pytest.raises(ValueError, match="same features"):
        native.json_rows.RowReader((2,), (b"a", b"a"), bytes(2))  # type: ignore[union-attr]


def test_values_that_are_no_rows_take_no_memory_for_rows() -> None:
    image = Signature((), (3, 224, 224), "binary", 1)
    tracemalloc.start()
    try:
        rejected = decode(image, [b"x", None] * 300, compiled=True)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(rejected.rejections) == 600 and peak_bytes < 100 * 2**20


@pytest.mark.parametrize("num_rows", [1, 2, 3])
def test_blocks_of_values_are_joined(num_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    poll = [event("[1,2,3]"), b"x", event("[4,5,6]", id="7"), event("[7,8,9]"), None, None, None, event("[1,1,1]")]
    monkeypatch.setattr(one_model, "MAX_BLOCK_BYTES", num_rows * 12)
    assert facts(decode(PLAIN, poll, compiled=True)) == facts(decode(PLAIN, poll, compiled=False))
