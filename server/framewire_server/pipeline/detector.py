"""One model on one device: prepare, infer, decode boxes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import cast

import numpy as np

from framewire_server.core.outcomes import Detection
from framewire_server.engines.port import Engine, Preparer
from framewire_server.models.options import EffectiveOptions
from framewire_server.models.spec import ModelSpec
from framewire_server.tensors import Answer, Outputs
from framewire_server.vision.boxes import best, plausible, suppress
from framewire_server.vision.decode import EncodedFrame
from framewire_server.vision.geometry import Placement


class Detector:
    """The core's Pipeline for a detector. The casts are the price of a core that knows no tensors."""

    def __init__(
        self, spec: ModelSpec, engine: Engine, preparer: Preparer, *, batch_wait_s: float = 0.0
    ) -> None:
        self.spec = spec
        self._names = _Names(enumerate(spec.labels))
        self._engine = engine
        self._preparer = preparer
        self.batch_wait_s = batch_wait_s
        self.name = spec.name
        self.max_batch = engine.max_batch
        self._stock: deque[object] = deque()

    def stock(self, batches: int) -> None:
        """Makes rows ahead, so that the next to ask for so many get them at once. Raises what the engine raises."""
        self._stock.extend(self._engine.new_rows() for _ in range(batches))

    def new_rows(self) -> object:
        """See Pipeline."""
        try:
            return self._stock.popleft()
        except IndexError:
            return self._engine.new_rows()

    def attach(self) -> None:
        """See Pipeline."""
        self._engine.attach()

    def detach(self) -> None:
        """See Pipeline."""
        self._engine.detach()

    def decode(self, item: object) -> object:
        """See Pipeline."""
        return self._preparer.decode(cast(EncodedFrame, item))

    def place(self, picture: object, rows: object, row: int) -> object:
        """See Pipeline."""
        return self._preparer.place(picture, rows, row)

    def infer(self, rows: object, count: int) -> object:
        """See Pipeline."""
        return self._engine.infer(rows, count)

    def close(self) -> None:
        """See Pipeline."""
        self._stock.clear()
        self._engine.close()

    def size_of(self, placement: object) -> tuple[int, int]:
        """See Pipeline."""
        where = cast(Placement, placement)
        return where.width, where.height

    def detect(self, outputs: object, row: int, placement: object, options: object) -> Sequence[Detection]:
        """See Pipeline. Thresholds, allow-list, suppression, the best few, back to the picture, labels. Raises the
        FrameFailure of a row that failed alone."""
        if isinstance(outputs, Answer) and (failed := outputs.failures.get(row)):
            raise failed
        wanted = cast(EffectiveOptions, options).for_spec(self.spec)
        found = plausible(self.spec.decoder(cast(Outputs, outputs), row, wanted.score_threshold))
        if wanted.allowed is not None:
            allowed = wanted.allowed
            found = found.pick(found.class_ids < len(allowed))  # a class beyond the labels is not on the list
            found = found.pick(allowed[found.class_ids])
        if wanted.iou_threshold is not None:
            found = suppress(found, wanted.iou_threshold, class_agnostic=self.spec.class_agnostic)
        found = best(found, wanted.max_detections)
        boxes = cast(Placement, placement).to_picture(found.boxes)
        names = self._names
        return [
            Detection(class_id, names[class_id], score, left, top, right, bottom)
            for class_id, score, (left, top, right, bottom) in zip(
                found.class_ids.tolist(), np.minimum(found.scores, 1.0).tolist(), boxes.tolist(), strict=True
            )
            if right > left and bottom > top
        ]


class _Names(dict[int, str]):
    """Labels by class id; a class that the labels do not reach gets a number for a name."""

    def __missing__(self, class_id: int) -> str:
        return f"class-{class_id}"
