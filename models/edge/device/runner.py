"""Predict with a model exported by Forebay. Needs onnxruntime and numpy, and the files beside it.

python runner.py < events.jsonl    {"features": {"name": value}} in each line; one prediction per line
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class Runner:
    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.about: dict[str, Any] = json.loads((folder / "model.json").read_text("utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, ["CPUExecutionProvider"])

    def row(self, features: Any) -> Any:
        """Return the row [F] of an event's features. Raises ValueError for what a worker rejects."""
        if type(features) is list and not self.about["features"]:
            return np.asarray(features, dtype=np.float32).reshape(self.about["num_features"])
        if type(features) is not dict or not self.about["features"]:
            raise ValueError("features is missing, or has the wrong type")
        return [number(feature, features.get(feature["name"])) for feature in self.about["features"]]

    def predict(self, row: Any) -> dict[str, Any]:
        """Return the prediction for a row [F]. Raises ValueError if the model rejects it."""
        values = self.session.run(["scores"], {"rows": np.asarray([row], dtype=np.float32)})[0][0]
        if not np.isfinite(values).all():
            raise ValueError("the row is outside what the model was prepared for, or an output is not finite")
        found = {"model": self.about["name"], "version": self.about["version"], "prediction": values.tolist()}
        if self.about["task"] == "regression":
            return found
        p = values if len(values) > 1 else np.array([1 - values[0], values[0]])
        index = int(p.argmax() if len(values) > 1 else p[1] >= np.float32(self.about["threshold"]))
        return found | {"confidence": float(p[index]), "class": index, "label": self.about["labels"][index]}


def number(feature: dict[str, Any], value: Any) -> float:
    if feature["codes"] is not None and value is not None:
        value = feature["codes"].get(value, feature["other"]) if isinstance(value, str) else ""
    if value is None and feature["nullable"]:
        return float("nan")
    if type(value) not in (int, float) or not abs(value) <= 3.4028234663852886e38:
        raise ValueError(f"feature {feature['name']!r} is missing, unknown, too large or of the wrong type")
    return float(value)


if __name__ == "__main__":
    runner = Runner(Path(__file__).resolve().parent)
    for line in sys.stdin:
        try:
            answer = runner.predict(runner.row(json.loads(line).get("features")))
        except (AttributeError, TypeError, ValueError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
