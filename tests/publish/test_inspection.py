"""The inspection of a file's first events: refusals and warnings."""

from __future__ import annotations

import io
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.data.csv_rows import CsvOptions, csv_rows
from forebay.models.data.input_row import InputRow, InputRows, InvalidRow
from forebay.schemas.errors import DataError
from forebay.stream.decode.validator import EventLimits
from forebay.stream.publish.envelope_values import CloudEventsValues, MessagePackValues
from forebay.stream.publish.event_builder import EventBuilder, Message, RowBuilder
from forebay.stream.publish.formatted_builder import EnvelopeBuilder, EnvelopeValues
from forebay.stream.publish.inspection import SAMPLE_ROWS, Candidate, EventCheck, Headers, Inspection, ServedSignature
from forebay.stream.publish.rate_limited_publish import PublishResult, publish_rows
from tests.core.build import JULY, ManualClock, signature
from tests.decode.test_decoder import decode_one
from tests.publish.test_rate_limited_publish import RecordingSink

ROOM = Signature(
    (Feature("sensor", "category", ("01", "NA")), Feature("temperature"), Feature("humidity", nullable=True)),
    (3,),
    "binary",
    1,
)


def served(of: Signature = ROOM) -> ServedSignature:
    return ServedSignature("m", of, EventLimits(10_000, 1_000))


class Publishing:
    """Publishes CSV with an inspection, and records the messages and warnings."""

    def __init__(
        self, of: Signature | None = ROOM, *, every: bool = False, values: EnvelopeValues | None = None
    ) -> None:
        self.clock = ManualClock()
        self.sink = RecordingSink(self.clock)
        self.warnings: list[str] = []
        self.served = None if of is None else served(of)
        check = None if self.served is None else EventCheck(self.served)
        self.inspection = Inspection(check, every, self.warnings.append)
        self.values = values
        if values is not None:
            self.inspection = self.inspection.in_format(values.headers, values.event)

    async def csv(self, text: str, **options: object) -> PublishResult:
        categories = {} if self.served is None else self.served.categories()
        return await self.rows(
            csv_rows(io.BytesIO(text.encode()), "file", CsvOptions(categories=categories)), **options
        )

    async def rows(self, rows: InputRows, **options: object) -> PublishResult:
        async def sleep(seconds: float) -> None:
            self.clock.advance(seconds)

        events = EventBuilder("file", now_ms=self.clock.wall_ms)
        builder: RowBuilder = events if self.values is None else EnvelopeBuilder(self.values, events)
        return await publish_rows(
            rows,
            builder,
            self.sink,
            source="file",
            clock=self.clock,
            sleep=sleep,
            inspection=self.inspection,
            **options,  # type: ignore[arg-type]
        )


async def test_valid_events_are_sent_without_warnings_and_categories_are_text() -> None:
    publishing = Publishing()
    assert (await publishing.csv("sensor,temperature,humidity\n01,5,\nNA,True,3\n")).events == 2
    assert publishing.warnings == []
    assert [orjson.loads(value)["features"] for value in publishing.sink.values] == [
        {"sensor": "01", "temperature": 5, "humidity": None},
        {"sensor": "NA", "temperature": True, "humidity": 3},
    ]


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        (
            "sensor,temprature\n01,5\n01,6\n",
            "all of the first 2 events; file, line 2",
            "'temperature' (is it 'temprature'",
        ),
        ("sensor,Temperature\n01,5\n", "the event; file, line 2", "'temperature' (is it 'Temperature' here?)"),
        ("sensor,temp\n01,5\n", "no feature", "'temperature' (is it 'temp' here?)"),
        ("01,21.5,40\nNA,22,41\n", "none of '01', '21.5', '40' is a feature", "the first line seems to hold data"),
        ("sensor,temperature\n7,5\n", "category that the model does not know", "--no-check"),
        ("sensor,temperature\n01,warm\n", "temperature", "--no-check"),
        ("a,b\n1,2\n", "none of 'a', 'b' is a feature of model 'm'", "--no-check"),
    ],
)
async def test_a_file_whose_events_would_all_be_rejected_is_not_sent(text: str, message: str, remedy: str) -> None:
    publishing = Publishing()
    with pytest.raises(DataError) as caught:
        await publishing.csv(text, skip_invalid=True)
    assert message in caught.value.message and "nothing was published" in caught.value.message
    assert remedy in str(caught.value.remedy)
    assert publishing.sink.values == []


@pytest.mark.parametrize("values", [MessagePackValues(), CloudEventsValues("test")])
async def test_formats_that_hold_a_whole_event_are_checked_as_json_is(values: EnvelopeValues) -> None:
    publishing = Publishing(values=values)
    assert (await publishing.csv("sensor,temperature,humidity\n01,5,\nNA,True,3\n")).events == 2
    assert publishing.warnings == []
    assert [values.event(value)["features"] for value in publishing.sink.values] == [  # type: ignore[index]
        {"sensor": "01", "temperature": 5, "humidity": None},
        {"sensor": "NA", "temperature": True, "humidity": 3},
    ]
    for text, message in (
        ("sensor,temprature\n01,5\n01,6\n", "all of the first 2 events; file, line 2"),
        ("sensor,temperature\n7,5\n", "category that the model does not know"),
        ("a,b\n1,2\n", "none of 'a', 'b' is a feature of model 'm'"),
    ):
        publishing = Publishing(values=values)
        with pytest.raises(DataError, match="nothing was published") as caught:
            await publishing.csv(text)
        assert message in caught.value.message and publishing.sink.values == []
    publishing = Publishing(values=values)
    assert (await publishing.csv("sensor,temperature\n01,5\n02,5\nNA,\n")).events == 3
    assert any("would reject" in warning for warning in publishing.warnings)


async def test_a_file_with_some_rejected_events_is_sent_with_a_warning() -> None:
    publishing = Publishing()
    assert (await publishing.csv("sensor,temperature\n01,5\n02,5\nNA,\n")).events == 3
    missing, rejected = publishing.warnings
    assert "the model's feature 'humidity' is missing" in missing
    assert "would reject 2 of the first 3 events; the first, file, line 3" in rejected


async def test_images_are_nested_or_flat_in_csv_and_json() -> None:
    of = Signature((), (1, 2, 2), "multiclass", 2)
    publishing = Publishing(of)
    result = await publishing.csv('id,features\na,"[[[1, 2], [3, 4]]]"\nb,"[1, 2, 3, 4]"\n')
    assert result.events == 2 and publishing.warnings == []
    with pytest.raises(DataError, match="the model takes nested arrays of 1×2×2"):
        await Publishing(of).csv('id,features\na,"[[1, 2], [3, 4]]"\n')


async def test_every_event_can_be_checked() -> None:
    rows = "".join(f"01,{number}\n" for number in range(SAMPLE_ROWS + 50)) + "02,1\n01,1\n"
    publishing = Publishing(every=True)
    result = await publishing.csv("sensor,temperature\n" + rows, skip_invalid=True)
    assert (result.events, result.skipped) == (SAMPLE_ROWS + 51, 1)
    assert result.first_invalid[0].place == f"file, line {SAMPLE_ROWS + 52}"
    stopping = Publishing(every=True)
    with pytest.raises(DataError, match=r"line 152: model 'm' rejects it.*\(150 events were published before\)"):
        await stopping.csv("sensor,temperature\n" + rows)


async def test_without_a_model_only_obvious_mistakes_are_warned_of() -> None:
    publishing = Publishing(None)
    assert (await publishing.csv("timestamp,5.1,3.5,setosa\n1767323045,4.9,3.0,setosa\n")).events == 1
    header, seconds = publishing.warnings
    assert "the first line seems to hold data" in header and "'5.1'" in header
    assert "milliseconds are expected (1767323045 ms is in 1970)" in seconds and "--timestamp-unit s" in seconds


@pytest.mark.parametrize("header", ["0,1,2", "1,2,3", "a,b,c"])
async def test_numbered_column_names_are_accepted(header: str) -> None:
    publishing = Publishing(None)
    await publishing.csv(f"{header}\n1,2,3\n")
    assert publishing.warnings == []


async def test_the_inspected_rows_are_sent_once_and_in_order_however_the_file_ends() -> None:
    def rows() -> Iterator[InputRow | InvalidRow | None]:
        yield None
        yield from (InputRow(number, {"features": [1, 2, 3]}, None) for number in range(1, 4))
        yield InvalidRow("file, line 4", "bad", "fix it")
        raise DataError("file: cut off")

    publishing = Publishing(signature())
    with pytest.raises(DataError, match=r"cut off \(3 events were published before\)"):
        await publishing.rows(rows(), skip_invalid=True)
    assert [orjson.loads(value)["id"] for value in publishing.sink.values] == ["file:1", "file:2", "file:3"]


async def test_the_inspection_of_a_pipe_does_not_wait_beyond_its_first_lines() -> None:
    publishing = Publishing(signature())
    seen: list[int] = []

    def rows() -> InputRows:
        yield None
        yield InputRow(1, {"features": [1, 2, 3]}, None)
        yield None
        yield None
        seen.append(len(publishing.sink.values))
        yield InputRow(2, {"features": [1, 2, 3]}, None)

    assert (await publishing.rows(rows())).events == 2
    assert seen == [1]


async def test_a_file_without_rows_gives_a_warning() -> None:
    publishing = Publishing()
    assert (await publishing.csv("sensor,temperature\n")).events == 0
    assert (await publishing.csv("")).events == 0
    assert publishing.warnings == ["the input has no events"] * 2


async def test_the_inspection_reads_no_further_than_the_limit() -> None:
    rows = (InputRow(number, {"features": [1, 2, 3]}, None) for number in range(1, 10**9))
    assert (await Publishing(signature()).rows(rows, limit=7)).events == 7
    assert next(rows).number == 9


@given(
    st.dictionaries(
        st.sampled_from(["sensor", "temperature", "humidity", "x"]), st.none() | st.floats(-1e39, 1e39) | st.text()
    )
)
def test_the_check_agrees_with_the_decoder(features: dict[str, object]) -> None:
    value = orjson.dumps({"id": "a", "timestamp": JULY, "features": features})
    fault = EventCheck(served()).verdict(Message(None, value)).fault
    assert (fault is None) == (not decode_one(value, of=ROOM).rejections)


SEVERAL = ServedSignature("m", signature(), EventLimits(10_000, 1_000), others={"room": ROOM}, unchecked=["absent"])
"""m takes three numbers."""
OF_M: dict[str, object] = {"features": [1, 2, 3]}
OF_ROOM: dict[str, object] = {"features": {"sensor": "01", "temperature": 1}, "model": "room"}


def inspect(events: list[dict[str, object]], headers: Headers = ()) -> list[str]:
    """Inspect events for several models; return the warnings."""
    warnings: list[str] = []
    sample = [
        Candidate(f"line {number}", Message(None, orjson.dumps({"id": "a", "timestamp": JULY, **event})), False)
        for number, event in enumerate(events, start=1)
    ]
    Inspection(EventCheck(SEVERAL, headers), False, warnings.append).inspect(sample)
    return warnings


def test_each_event_is_inspected_for_its_own_model() -> None:
    complete = {"features": {"sensor": "01", "temperature": 1, "humidity": 2}, "model": "room"}
    assert inspect([OF_M, complete, OF_M | {"model": "m"}]) == []
    assert inspect([OF_M, OF_ROOM]) == ["the model's feature 'humidity' is missing"]
    room = {"features": {"sensor": "01", "temperature": 1, "humidity": 2}}
    assert inspect([room, OF_M | {"model": "m"}], headers=[("forebay-model", b"room")]) == []


def test_a_file_is_sent_if_one_of_its_models_accepts_events() -> None:
    wrong = {"features": [1], "model": "room"}
    rejected = "model 'room' would reject all of the first 2 events; line 2: "
    (warning,) = inspect([OF_M, wrong, wrong])
    assert warning.startswith(rejected)
    with pytest.raises(DataError, match="model 'room' would reject all of the first 2 events"):
        inspect([wrong, wrong, {"features": [1]}])
    (warning,) = inspect([OF_M, {"features": {"x": 1}, "model": "room"}])[1:]
    assert warning == "none of 'x' is a feature of model 'room'"


def test_an_unknown_model_is_reported_with_those_that_are_served() -> None:
    (warning,) = inspect([OF_M, OF_M | {"model": "rooms"}])
    assert warning.endswith("line 2: model 'rooms' is not served here; 'm' and 'room' are")


def test_events_of_a_served_model_whose_signature_is_unknown_are_accepted() -> None:
    assert inspect([OF_M, OF_M | {"model": "absent"}]) == []
    assert inspect([OF_M | {"model": "absent"}, OF_M | {"model": "m"}]) == []
    assert inspect([OF_M], headers=[("forebay-model", b"absent")]) == []
    wrong = Message(None, orjson.dumps({"id": "a", "timestamp": JULY, **OF_M, "model": "room"}))
    assert "model 'room' rejects it" in str(EventCheck(SEVERAL).invalid_row("line 1", wrong))


async def test_a_decimal_comma_is_pointed_out() -> None:
    publishing = Publishing()
    with pytest.raises(DataError, match="'temperature' is a string") as caught:
        await publishing.csv('sensor,temperature,humidity\n01,"21,5",40\n')
    assert "'temperature' is '21,5', with a decimal comma" in str(caught.value.remedy)
    without_model = Publishing(None)
    await without_model.csv('price,note\n"1,50",a\n')
    assert without_model.warnings == ["'price' is '1,50', with a decimal comma; numbers need a decimal point"]
    categories = Publishing(Signature((Feature("place", "category", ("1,2",)),), (1,), "binary", 1))
    await categories.csv('place\n"1,2"\n')
    assert categories.warnings == []
    hashed = Publishing(Signature((Feature("place", "hashed", buckets=4),), (1,), "binary", 1))
    await hashed.csv('place\n"1,2"\n')
    assert hashed.warnings == []


async def test_a_column_of_hashed_texts_stays_as_written() -> None:
    features = (Feature("postcode", "hashed", nullable=True, buckets=4), Feature("temperature"))
    publishing = Publishing(Signature(features, (2,), "binary", 1))
    await publishing.csv("postcode,temperature\n01067,1\ntrue,2\nNA,3\n")
    assert publishing.warnings == []
    assert [orjson.loads(value)["features"]["postcode"] for value in publishing.sink.values] == [
        "01067",
        "true",
        None,
    ]
