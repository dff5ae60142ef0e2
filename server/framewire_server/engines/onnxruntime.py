"""The Engine of the CPU: ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from framewire_server.engines.front import ROWS, add_front, outside
from framewire_server.engines.port import ByteRows
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
        image: Tensor,
        outputs: tuple[Tensor, ...],
        *,
        channels_last: bool,
        extra_inputs: Mapping[str, NDArray[np.generic]] | None = None,
        preprocessing: Preprocessing,
        max_batch: int,
        threads: int,
    ) -> None:
        """`image` is the input that takes the picture; `extra_inputs` are the values of the others for one picture.
        `max_batch` holds for a dynamic batch axis; a fixed one is what it is. Raises ModelError when the model
        does not load or does not answer a blank batch."""
        self.outputs = outputs
        self._image = image
        self._extra = extra_inputs or {}
        self._fixed_batch = image.shape[0] if len(image.shape) == 4 else 1
        self.max_batch = self._fixed_batch or max_batch
        self._channels_last = channels_last
        self._preprocessing = preprocessing
        self._names = [tensor.name for tensor in outputs]
        self._session, self.front_in_graph = self._load(path, model, threads)
        self._warm_up(path)

    def new_rows(self) -> ByteRows:
        """See Engine."""
        shape = self._image.shape
        height, width = shape[-3:-1] if self._channels_last else shape[-2:]
        assert height and width  # recognition refuses other models
        return np.zeros((self.max_batch, height, width, 3), np.uint8)

    def attach(self) -> None:
        """See Engine. No thread needs anything of its own."""

    def detach(self) -> None:
        """See Engine."""

    def infer(self, rows: ByteRows, count: int) -> Outputs:
        """See Engine."""
        used = rows if self._fixed_batch else rows[:count]
        feed: dict[str, NDArray[np.generic]] = (
            {ROWS: used} if self.front_in_graph else {self._image.name: self._outside(used)}
        )
        for name, value in self._extra.items():
            feed[name] = np.broadcast_to(value, (len(used), *value.shape))
        return dict(zip(self._names, self._session.run(self._names, feed), strict=True))

    def close(self) -> None:
        """See Engine. The session goes, and with it weights and arenas."""
        del self._session

    def _outside(self, rows: ByteRows) -> NDArray[np.generic]:
        return outside(
            rows,
            self._image,
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
            return ort.InferenceSession(model.SerializeToString(), options, providers=providers), False
        except Exception as error:
            raise ModelError(f"{path}: ONNX Runtime cannot load it: {error}") from error

    def _warm_up(self, path: Path) -> None:
        rows = self.new_rows()
        for count in sorted({1, self.max_batch}):
            try:
                self.infer(rows, count)
            except Exception as error:
                raise ModelError(f"{path}: fails on a blank batch of {count}: {error}") from error
