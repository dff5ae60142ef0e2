"""The Engine of the CPU: ONNX Runtime."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from framewire_server.engines.front import ROWS, add_front, outside
from framewire_server.engines.port import Rows
from framewire_server.errors import ModelError
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.preprocessing import Preprocessing

log = logging.getLogger(__name__)
_ORT_ERRORS_ONLY = 3


class OnnxRuntimeEngine:
    """One session, shared by all lanes. Its rows are uint8 BGR; the front is in the graph where it can be."""

    def __init__(
        self,
        path: Path,
        model: onnx.ModelProto,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        *,
        channels_last: bool,
        preprocessing: Preprocessing,
        max_batch: int,
        threads: int,
    ) -> None:
        """`max_batch` holds for a dynamic batch axis; a fixed one is what it is. Raises ModelError when the
        model does not load or does not answer a blank batch."""
        self.inputs = inputs
        self.outputs = outputs
        self._image = next(tensor for tensor in inputs if len(tensor.shape) == 4)
        self._fixed_batch = self._image.shape[0]
        self.max_batch = self._fixed_batch or max_batch
        self._channels_last = channels_last
        self._preprocessing = preprocessing
        self._names = [tensor.name for tensor in outputs]
        self._session, self.front_in_graph = self._load(path, model, threads)
        self._warm_up(path)

    def new_rows(self) -> Rows:
        """See Engine."""
        shape = self._image.shape
        height, width = shape[1:3] if self._channels_last else shape[2:4]
        assert height and width  # recognition refuses other models
        return np.zeros((self.max_batch, height, width, 3), np.uint8)

    def infer(self, rows: Rows, count: int) -> Outputs:
        """See Engine."""
        used = rows if self._fixed_batch else rows[:count]
        feed = {ROWS: used} if self.front_in_graph else {self._image.name: self._outside(used)}
        return dict(zip(self._names, self._session.run(self._names, feed), strict=True))

    def _outside(self, rows: Rows) -> NDArray[np.generic]:
        return outside(
            rows,
            self._image.dtype,
            channels_last=self._channels_last,
            preprocessing=self._preprocessing,
        )

    def _load(self, path: Path, model: onnx.ModelProto, threads: int) -> tuple[ort.InferenceSession, bool]:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ORT_ERRORS_ONLY
        # Lanes share the cores: a thread that spins for work takes them from another lane.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CPUExecutionProvider"]
        try:
            front = add_front(
                model, self._image, channels_last=self._channels_last, preprocessing=self._preprocessing
            )
            return ort.InferenceSession(front.SerializeToString(), options, providers=providers), True
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            log.info("%s: pixels are prepared outside the graph: %s", path, error)
        try:
            return ort.InferenceSession(str(path), options, providers=providers), False
        except Exception as error:
            raise ModelError(f"{path}: ONNX Runtime cannot load it: {error}") from error

    def _warm_up(self, path: Path) -> None:
        rows = self.new_rows()
        for count in sorted({1, self.max_batch}):
            try:
                self.infer(rows, count)
            except Exception as error:
                raise ModelError(f"{path}: fails on a blank batch of {count}: {error}") from error
