"""What is remembered of a TensorRT plugin that was taken out of a network: its kind, its attributes, its outputs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

KEY = "framewire.nms"
"""Key of a model's metadata under which the node is remembered as JSON."""
LOCATIONS = "framewire_locations"
CONFIDENCES = "framewire_confidences"
PRIORS = "framewire_priors"
BOXES = "framewire_boxes"
SCORES = "framewire_scores"
ANCHORS = "framewire_anchors"
SSD_INPUTS = (LOCATIONS, CONFIDENCES, PRIORS)
PAIR_INPUTS = (BOXES, SCORES)
FUSED_INPUTS = (BOXES, SCORES, ANCHORS)
SSD_KINDS = ("NMS_TRT", "NMSDynamic_TRT")
BATCHED_KINDS = ("BatchedNMS_TRT", "BatchedNMSDynamic_TRT")
EFFICIENT_KINDS = ("EfficientNMS_TRT",)
KINDS = frozenset(SSD_KINDS + BATCHED_KINDS + EFFICIENT_KINDS)
_SSD_INPUT_ORDER = (0, 2, 1)
"""The plugin's own, when the node has none (NVIDIA TensorRT plugin/nmsPlugin)."""


@dataclass(frozen=True, slots=True)
class SuppressionNode:
    """A plugin node. Its attributes are read leniently: exporters write 1, 1.0, true or [1] for the same."""

    kind: str
    attributes: Mapping[str, Any]
    outputs: tuple[str, ...]
    """Names of the network's outputs before the node was taken out; they tell who exported it."""

    @classmethod
    def of_node(cls, node: onnx.NodeProto, outputs: tuple[str, ...]) -> SuppressionNode:
        """Reads a node of a graph."""
        return cls(node.op_type, {entry.name: _plain(entry) for entry in node.attribute}, outputs)

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str]) -> SuppressionNode | None:
        """Reads what a model's metadata remembers; None when it remembers no node, or none that is known."""
        try:
            noted = json.loads(metadata.get(KEY, "null"))
            kind, attributes, outputs = noted["kind"], noted["attributes"], noted["outputs"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        if not isinstance(kind, str) or kind not in KINDS:
            return None
        if not isinstance(attributes, dict) or not isinstance(outputs, list):
            return None
        return cls(kind, attributes, tuple(map(str, outputs)))

    def json(self) -> str:
        """What goes into the metadata."""
        return json.dumps(
            {"kind": self.kind, "attributes": dict(self.attributes), "outputs": list(self.outputs)}
        )

    def number(self, name: str) -> float | None:
        """An attribute that is a number; None when it is absent or something else."""
        value = self.attributes.get(name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        try:
            number = None if value is None else float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return number if number is not None and math.isfinite(number) else None

    def integer(self, name: str, default: int) -> int:
        """An attribute that is a whole number."""
        value = self.number(name)
        return int(value) if value is not None and value.is_integer() else default

    def flag(self, name: str, *, default: bool) -> bool:
        """An attribute that is yes or no."""
        return bool(self.integer(name, int(default)))

    def input_order(self) -> tuple[int, ...] | None:
        """Which inputs of NMS_TRT are locations, confidences and priors; None when the attribute makes no sense."""
        stated = self.attributes.get("inputOrder")
        if stated is None:
            return _SSD_INPUT_ORDER
        try:
            order = tuple(int(float(place)) for place in stated)
        except (TypeError, ValueError):
            return None
        return order if sorted(order) == [0, 1, 2] else None


def _plain(attribute: onnx.AttributeProto) -> Any:
    """An attribute's value as JSON has it."""
    value = helper.get_attribute_value(attribute)
    if attribute.type == onnx.AttributeProto.TENSOR:
        return numpy_helper.to_array(value).reshape(-1).tolist()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float):
        return _short(value)
    if isinstance(value, (int, str)):
        return value
    try:
        return [_short(item) if isinstance(item, float) else int(item) for item in value]
    except (TypeError, ValueError):
        return None  # a graph or a list of texts: no plugin of ours has one


def _short(value: float) -> float:
    """ONNX holds float32: 0.6 and not 0.6000000238418579."""
    return float(str(np.float32(value)))
