"""Networks with known boxes planted in their outputs, and what a server makes of them.

The way from boxes to tensors is written here and in the tests, from the exporters' own rules; it shares no code with
the families, which go the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from framewire_server.config import ServerConfig
from framewire_server.models.options import resolve
from framewire_server.models.repository import Entry
from framewire_server.models.spec import ModelSpec
from framewire_server.pipeline.loading import load

MOST_PIXELS_OFF = 0.1
MOST_SCORE_OFF = 2e-3
BATCH = 5


class Planted(NamedTuple):
    """A box in pixels of its picture."""

    class_id: int
    score: float
    left: float
    top: float
    right: float
    bottom: float


class Picture(NamedTuple):
    """A picture's size and what is to be found on it."""

    width: int
    height: int
    boxes: tuple[Planted, ...]


_BOXES = (
    (
        (1280, 720),
        (0, 0.9, 100, 50, 420, 400),
        (2, 0.75, 700.5, 300.25, 900, 690),
        (1, 0.6, 500, 10, 640, 90),
    ),
    ((480, 854), (1, 0.85, 10, 20, 200, 300), (2, 0.7, 250, 500, 470, 840)),
    ((641, 427), (2, 0.95, 33, 44, 333, 222), (0, 0.65, 400.5, 100.5, 600, 400)),
    ((333, 999), (0, 0.8, 30, 100, 300, 420), (1, 0.55, 40, 600, 310, 950)),
    ((640, 480), (1, 0.9, 300, 200, 620, 460)),
)
PICTURES = tuple(
    Picture(*size, tuple(Planted(int(box[0]), *box[1:]) for box in boxes)) for size, *boxes in _BOXES
)
"""Landscape, portrait, odd sizes: one picture for each row of a batch of BATCH. Classes 0 to 2."""


def to_network(
    box: Planted, picture: Picture, size: tuple[int, int], resize: str
) -> tuple[float, float, float, float]:
    """Where a box comes to lie in a network's input of `size` (width, height), by the documented rule of `resize`."""
    width, height = size
    ratio = min(width / picture.width, height / picture.height)
    if resize == "stretch":
        nw, nh, dx, dy = width, height, 0, 0
    elif resize == "letterbox-centre":  # Ultralytics
        nw, nh = round(picture.width * ratio), round(picture.height * ratio)
        dx, dy = round((width - nw) / 2 - 0.1), round((height - nh) / 2 - 0.1)
    elif resize == "letterbox-centre-floor":  # Darknet, jkjung
        nw = min(width, picture.width * height // picture.height)
        nh = min(height, picture.height * width // picture.width)
        dx, dy = (width - nw) // 2, (height - nh) // 2
    elif resize == "letterbox-topleft":  # YOLOX
        nw, nh, dx, dy = int(picture.width * ratio), int(picture.height * ratio), 0, 0
    elif resize == "letterbox-topleft-round":  # EfficientDet
        nw, nh, dx, dy = round(picture.width * ratio), round(picture.height * ratio), 0, 0
    else:
        raise ValueError(resize)
    sx, sy = nw / picture.width, nh / picture.height
    return box.left * sx + dx, box.top * sy + dy, box.right * sx + dx, box.bottom * sy + dy


def xyxy(
    pictures: Sequence[Picture], size: tuple[int, int], resize: str, *, norm: bool = False
) -> list[list[list[float]]]:
    """For each picture, for each box: class, score, left, top, right, bottom in pixels (or fractions) of the input."""
    scale = np.array((*size, *size) if norm else (1, 1, 1, 1))
    return [
        [
            [box.class_id, box.score, *(np.array(to_network(box, picture, size, resize)) / scale)]
            for box in picture.boxes
        ]
        for picture in pictures
    ]


@dataclass(frozen=True)
class Flat:
    """An output without a batch axis: the rows of all pictures in one list, picture after picture."""

    of_pictures: Sequence[NDArray[np.generic]]


Output = NDArray[np.generic] | Flat


def network(
    path: Path,
    outputs: Mapping[str, Output],
    *,
    size: tuple[int, int],
    image: str = "images",
    dtype: type[np.generic] = np.float32,
    channels_last: bool = False,
    channels: int = 3,
    rank: int = 4,
    open_size: bool = False,
    batch: int | None = None,
    extra_inputs: Mapping[str, tuple[type[np.generic], Sequence[int | str]]] | None = None,
    metadata: Mapping[str, str] | None = None,
    nodes: Sequence[onnx.NodeProto] = (),
    constants: Sequence[onnx.TensorProto] = (),
) -> Path:
    """Writes a network that answers row n of a batch with row n of each output array [rows, ...].

    `nodes` and `constants` stand in the graph besides, as evidence of where it comes from. With `batch` the batch
    axis is fixed, and outputs are as long as their arrays.
    """
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    sides: list[int | str] = ["height", "width"] if open_size else [size[1], size[0]]
    shape = [*sides, channels] if channels_last else [channels, *sides]
    if rank == 4:
        shape = [batch or "batch", *shape]
    feeds = [helper.make_tensor_value_info(image, kind, shape)]
    for name, (extra_dtype, extra_shape) in (extra_inputs or {}).items():
        extra_kind = helper.np_dtype_to_tensor_dtype(np.dtype(extra_dtype))
        feeds.append(helper.make_tensor_value_info(name, extra_kind, list(extra_shape)))
    made = [
        helper.make_node("Shape", [image], ["image_shape_"]),
        helper.make_node("Gather", ["image_shape_", "zero_"], ["rows_"]),
    ]
    held = [numpy_helper.from_array(np.zeros(1, np.int64), "zero_")]
    values = []
    for name, output in outputs.items():
        fixed = rank == 3 or batch is not None
        values.append(_output(name, output, fixed, made, held))
    graph = helper.make_graph([*nodes, *made], "planted", feeds, values, [*held, *constants])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    if metadata:
        helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)
    return path


def _output(
    name: str,
    output: Output,
    fixed: bool,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
) -> onnx.ValueInfoProto:
    table = np.concatenate(list(output.of_pictures)) if isinstance(output, Flat) else output
    constants.append(numpy_helper.from_array(table, f"{name}_table"))
    kind = helper.np_dtype_to_tensor_dtype(table.dtype)
    if fixed:
        nodes.append(helper.make_node("Identity", [f"{name}_table"], [name]))
        return helper.make_tensor_value_info(name, kind, table.shape)
    end = "rows_"
    if isinstance(output, Flat):
        ends = np.cumsum([0, *(len(rows) for rows in output.of_pictures)]).astype(np.int64)
        constants.append(numpy_helper.from_array(ends, f"{name}_ends"))
        nodes.append(helper.make_node("Gather", [f"{name}_ends", "rows_"], [f"{name}_end"]))
        end = f"{name}_end"
    nodes.append(helper.make_node("Slice", [f"{name}_table", "zero_", end, "zero_"], [name]))
    return helper.make_tensor_value_info(
        name, kind, ["count" if isinstance(output, Flat) else "batch", *table.shape[1:]]
    )


def int32_bits(values: NDArray[np.int32]) -> NDArray[np.float32]:
    """Integers as NMS_TRT writes them: their bits in a tensor that is called float32."""
    return values.view(np.float32)


Build = Callable[[Path, Sequence[Picture]], Path]


def check(folder: Path, build: Build, *, batch: int, score_threshold: float = 0.3) -> ModelSpec:
    """Has `build(path, pictures)` write a network for every picture alone (batch 1) or for all (batch BATCH), serves
    it, and asserts that just the planted boxes are found. Returns the spec of the last one."""
    groups = [PICTURES] if batch > 1 else [(picture,) for picture in PICTURES]
    for n, pictures in enumerate(groups):
        spec, found = answers(build(folder / f"planted{n}.onnx", pictures), pictures, score_threshold)
        for picture, detections in zip(pictures, found, strict=True):
            assert_same(detections, picture)
    return spec


def answers(
    path: Path, pictures: Sequence[Picture], score_threshold: float = 0.3
) -> tuple[ModelSpec, list[list[Planted]]]:
    """Runs the model as it would be served, all pictures in one batch. Boxes are in pixels of the pictures."""
    config = ServerConfig(models=(path,), max_batch=len(pictures))
    entry = Entry(path.stem, path)
    detector = load(entry, config)
    spec = entry.spec
    assert spec is not None
    rows = detector.new_rows()
    blank = [np.zeros((picture.height, picture.width, 3), np.uint8) for picture in pictures]
    placements = [detector.place(pixels, rows, row) for row, pixels in enumerate(blank)]
    outputs = detector.infer(rows, len(pictures))
    options = resolve(spec, score_threshold=score_threshold)
    found = []
    for row, picture in enumerate(pictures):
        detections = detector.detect(outputs, row, placements[row], options)
        sides = (picture.width, picture.height) * 2
        found.append(
            [
                Planted(
                    each.class_id,
                    each.score,
                    *(
                        edge * side
                        for edge, side in zip(
                            (each.left, each.top, each.right, each.bottom), sides, strict=True
                        )
                    ),
                )
                for each in detections
            ]
        )
    return spec, found


def assert_same(found: Sequence[Planted], picture: Picture) -> None:
    """Asserts that just the planted boxes were found, best first, each within MOST_PIXELS_OFF."""
    wanted = sorted(picture.boxes, key=lambda box: -box.score)
    assert [box.class_id for box in found] == [box.class_id for box in wanted], (found, wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        assert abs(mine.score - theirs.score) <= MOST_SCORE_OFF, (mine, theirs)
        np.testing.assert_allclose(mine[2:], theirs[2:], atol=MOST_PIXELS_OFF)
