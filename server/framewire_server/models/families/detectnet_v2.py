"""TAO DetectNet_v2 (PeopleNet, TrafficCamNet): a grid of coverages [N, C, h, w] and one of boxes [N, 4C, h, w].

Row 8 of the decision table. Boxes are not suppressed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.distances import corners
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import UNIT_STRETCH
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates

_BOX_NORM = 35.0
_CENTRE = 0.5


class DetectNetV2:
    """Recognises two outputs of rank 4 over the same grid, one with four times the channels of the other."""

    name = "detectnet-v2"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 8: see the module."""
        grids = _grids(signature)
        if grids is None or signature.input_size is None:
            return None
        coverage, boxes = grids
        width, height = signature.input_size
        columns, rows = coverage.shape[3], coverage.shape[2]
        assert columns and rows  # _grids saw them
        named = "cov" in coverage.name.lower() and "box" in boxes.name.lower()
        if not named and signature.stated.family != self.name:
            return Refusal(self.name, 8, _BY_SHAPE_ALONE)
        doubts: tuple[str, ...] = ()
        if signature.stated.strides is None and (width % columns or height % rows):
            doubts = (
                f"the input of {width}x{height} is no multiple of the grid of {columns}x{rows}: the stride is "
                "rounded up; if it is another, state strides: [pixels]",
            )
        stride = signature.stated.strides or (-(-width // columns), -(-height // rows))
        return Match(
            family=self.name,
            row=8,
            preprocessing=UNIT_STRETCH,
            decoder=_Decoder(coverage.name, boxes.name, (stride[0], stride[-1]), (width, height)),
            classes=coverage.shape[1],
            labels=None,
            score_threshold=0.4,
            iou_threshold=0.5,
            evidence=(
                f"{coverage.name} and {boxes.name} are a grid of coverages and one of boxes: DetectNet_v2",
                "DetectNet_v2 takes RGB / 255, stretched, and needs suppression",
            ),
            doubts=doubts,
        )


_BY_SHAPE_ALONE = (
    "its outputs have the shapes of DetectNet_v2's coverages and boxes, but not their names, and other networks have "
    "such grids, too: state family: detectnet-v2 in the model file if it is one (RGB / 255, stretched, offsets in "
    "units of 35 pixels)"
)


def _grids(signature: Signature) -> tuple[Tensor, Tensor] | None:
    if len(signature.outputs) != 2 or any(len(tensor.shape) != 4 for tensor in signature.outputs):
        return None
    coverage, boxes = sorted(signature.outputs, key=lambda tensor: tensor.shape[1] or 0)
    if coverage.shape[2:] != boxes.shape[2:] or None in coverage.shape[1:]:
        return None
    assert coverage.shape[1]
    if coverage.shape[2:] == (1, 1):  # a grid of one cell is none: two heads of yolo_layer look like that
        return None
    return (coverage, boxes) if boxes.shape[1] == 4 * coverage.shape[1] else None


class _Decoder:
    """Channel 4c + n of the boxes is how far, in units of 35 pixels, an edge of class c (left, top, right, bottom)
    lies from the cell's centre (NVIDIA DeepStream, nvdsinfer_context_impl_output_parsing.cpp)."""

    def __init__(self, coverage: str, boxes: str, stride: tuple[int, int], size: tuple[int, int]) -> None:
        """`stride` and `size` are width and height in pixels of the network's input."""
        self._coverage = coverage
        self._boxes = boxes
        self._stride = np.array(stride, np.float32)
        self._size = np.array(size * 2, np.float32)

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        coverage: NDArray[np.float32] = outputs[self._coverage][row].astype(np.float32, copy=False)
        # Several times faster than nonzero on three axes.
        reached = np.flatnonzero(coverage >= score_threshold)
        class_ids, rows, columns = np.unravel_index(reached, coverage.shape)  # [C, h, w]
        grid = outputs[self._boxes][row]
        offsets = grid.reshape(-1, 4, *grid.shape[1:])[class_ids, :, rows, columns].astype(np.float32)
        centres = np.stack([columns, rows], axis=1).astype(np.float32) * self._stride + np.float32(_CENTRE)
        reach = offsets * np.float32(_BOX_NORM)
        boxes = corners(centres, reach)
        return Candidates(np.clip(boxes, 0, self._size), coverage[class_ids, rows, columns], class_ids)
