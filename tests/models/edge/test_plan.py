"""Planning: counts of operations, predictions from unit costs, limits, and the best version."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from forebay.models.edge.device_profile import DeviceLimits, DeviceProfile, Power, Processor
from forebay.models.edge.limits import Limits
from forebay.models.edge.measuring import unit_costs
from forebay.models.edge.operation_counts import count_operations
from forebay.models.edge.plan import (
    ESTIMATED_WATTS,
    Load,
    PlannedVersion,
    best_version,
    costs_of,
    plan_version,
    power_of,
    shared_metric,
)
from forebay.models.edge.probes import Probe, probes
from forebay.models.edge.unit_costs import OperationCounts, UnitCosts, predict

COSTS = UnitCosts(
    call_us=20.0,
    node_us=1.5,
    dense_ns=0.1,
    convolution_ns=0.2,
    recurrent_ns=0.3,
    dense_int8_ns=0.05,
    convolution_int8_ns=0.4,
    element_ns=0.5,
    tree_visit_ns=4.0,
    p99_ratio=1.5,
    process_bytes=60e6,
    bytes_per_weight_byte=2.0,
    bytes_per_tree_node=40.0,
)
PROBES = tuple(probes())


def counts(**more: float) -> OperationCounts:
    plain = OperationCounts(0, {}, 0.0, tree_visits=0.0, weight_bytes=0, tree_nodes=0)
    return replace(plain, **more)  # type: ignore[arg-type]


def test_operations_of_a_graph_are_counted() -> None:
    weights = {
        "filters": np.zeros((8, 3, 3, 3), np.float32),
        "dense": np.zeros((8 * 16, 10), np.float32),
        "shape": np.array([-1, 3, 4, 4], np.int64),
    }
    nodes = [
        helper.make_node("Reshape", ["rows", "shape"], ["image"]),
        helper.make_node("Conv", ["image", "filters"], ["found"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["found"], ["positive"]),
        helper.make_node("Flatten", ["positive"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense"], ["outputs"]),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["B", 48])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["B", 10])],
        initializer=[numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    found = count_operations(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString())
    assert found.multiplications == {"convolution": 16 * 8 * 27, "dense": 1280}
    assert (found.nodes, found.elements) == (3, 8 * 16)
    assert found.weight_bytes == 4 * (8 * 27 + 1280) + 32


def test_operations_of_the_probes_are_those_that_they_are_named_after() -> None:
    by_cost = {probe.cost: count_operations(probe.graph) for probe in PROBES}
    assert by_cost["call_us"].nodes == 0
    assert by_cost["node_us"].nodes == 72
    for cost in ("dense_ns", "dense_int8_ns"):
        assert by_cost[cost].multiplications[cost.removesuffix("_ns")] >= 4 * 512 * 512
    for cost in ("convolution_ns", "convolution_int8_ns"):
        assert by_cost[cost].multiplications[cost.removesuffix("_ns")] == 4 * 256 * 16 * 16 * 9
    assert by_cost["recurrent_ns"].multiplications["recurrent"] == 16 * 2 * 3 * 64 * 64
    assert (by_cost["tree_visit_ns"].tree_visits, by_cost["tree_visit_ns"].tree_nodes) == (200 * 7, 200 * 255)
    assert by_cost["element_ns"].elements > 8 * 65_536


def test_costs_are_recovered_from_what_the_probes_need() -> None:
    def needed(probe: Probe) -> dict[str, float]:
        expected = predict(count_operations(probe.graph), COSTS)
        return {
            "p50_ms": expected.p50_ms,
            "p99_ms": expected.p99_ms,
            "peak_memory_bytes": expected.memory_bytes,
        }

    found = unit_costs((probe, needed(probe)) for probe in PROBES)
    for name in UnitCosts.__struct_fields__:
        # The nodes of the first graphs write a few elements, whose cost is not known then.
        assert getattr(found, name) == pytest.approx(getattr(COSTS, name), rel=0.02), name


def test_a_prediction_adds_up_what_operations_cost() -> None:
    found = predict(
        counts(
            nodes=4, multiplications={"dense": 1e6}, elements=1000.0, tree_visits=100.0, weight_bytes=500, tree_nodes=7
        ),
        COSTS,
    )
    assert found.p50_ms == pytest.approx((20 + 4 * 1.5 + 100 + 0.5 + 0.4) / 1000)
    assert found.p99_ms == pytest.approx(1.5 * found.p50_ms)
    assert found.memory_bytes == 60e6 + 1000 + 280


def version(number: int = 1, **metrics: float) -> PlannedVersion:
    return PlannedVersion("digits", number, None, metrics, model_bytes=300_000)


def test_limits_that_are_not_kept_are_named_with_the_factor() -> None:
    limits = Limits(model_bytes=256_000, memory_bytes=50_000_000, p99_ms=5.0, power_watts=0.001)
    found = plan_version(version(), counts(nodes=1), COSTS, limits=limits, load=Load(rate=100.0, active_watts=2.0))
    assert not found.fits
    assert [excess.what for excess in found.excesses] == ["size", "memory", "power"]
    assert found.excesses[0].factor == pytest.approx(300 / 256)
    assert found.power_watts == pytest.approx(100 * 21.5e-6 * 2)
    free = plan_version(version(), counts(nodes=1), COSTS, limits=Limits(), load=Load())
    assert free.fits and free.to_dict()["exceeds"] == []


def test_the_best_version_has_the_best_shared_metric_then_the_least_time() -> None:
    def planned(number: int, nodes: int, **metrics: float) -> PlannedVersion:
        return plan_version(version(number, **metrics), counts(nodes=nodes), COSTS, limits=Limits(), load=Load())

    accurate, fast = planned(1, 9, accuracy=0.98, loss=0.1), planned(2, 3, accuracy=0.97, loss=0.05)
    assert best_version([accurate, fast]) is accurate
    assert best_version([accurate, planned(3, 2)]).version == 3  # type: ignore[union-attr]  # no shared metric
    assert shared_metric([planned(4, 1, loss=0.2), fast]) == "loss"
    assert best_version([planned(4, 1, loss=0.2), fast]) is fast
    refused = replace(version(5), model_bytes=None, refused="windows")
    assert best_version([refused]) is None and not refused.fits


def test_devices_are_written_and_read_as_toml() -> None:
    device = DeviceProfile(
        name="gateway",
        processor=Processor(name="Cortex-A72", architecture="aarch64", cores=4, mhz=1500, instruction_sets=["NEON"]),
        accelerators=["Coral Edge TPU"],
        power=Power(source="battery", active_watts=1.5),
        limits=DeviceLimits(model_bytes=256_000, memory_bytes=96_000_000, p99_ms=5.0),
        unit_costs=COSTS,
    )
    from forebay.models.edge.device_profile import read_profile

    assert read_profile(device.to_toml(), "device.toml") == device
    assert device.limits.limits() == Limits(256_000, 96_000_000, 5.0)
    assert power_of(device) == (1.5, False)
    assert power_of(DeviceProfile()) == (ESTIMATED_WATTS, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[processor]\ncores = 'two'", r"d\.toml: Expected `int`, got `str` - at `\$\.processor\.cores`"),
        ("[processor]\nspeed = 2", r"d\.toml: Object contains unknown field `speed`"),
        ("[processor", r"d\.toml: "),
        ("device = 3", r"d\.toml: Expected a table"),
    ],
)
def test_wrong_devices_are_refused(text: str, message: str) -> None:
    from forebay.models.edge.device_profile import read_profile
    from forebay.schemas.errors import ConfigError

    with pytest.raises(ConfigError, match=message):
        read_profile(text, "d.toml")


def test_costs_of_another_device_are_scaled() -> None:
    here = DeviceProfile(
        processor=Processor(mhz=3000, instruction_sets=["AVX2"]),
        unit_costs=COSTS,
    )
    slower = DeviceProfile(processor=Processor(mhz=1500, instruction_sets=["NEON"]))
    found = costs_of(slower, here)
    assert found.call_us == pytest.approx(40.0)
    assert found.dense_ns == pytest.approx(0.4)
    assert found.process_bytes == COSTS.process_bytes
    assert costs_of(DeviceProfile(), here) == COSTS
    assert costs_of(msgspec.structs.replace(slower, unit_costs=COSTS), here) is COSTS
