"""Runs a network once, to see what its outputs look like."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from framewire_server.tensors import Outputs, Tensor

log = logging.getLogger(__name__)
_ORT_ERRORS_ONLY = 3


class Probe:
    """A network on the CPU and a grey, noisy picture. Runs when first asked and remembers the answer."""

    def __init__(
        self,
        model: onnx.ModelProto,
        image: Tensor,
        extra: Mapping[str, NDArray[np.generic]],
    ) -> None:
        """`extra` are the inputs that are no picture, for one picture. Open dimensions become 1."""
        self._model = model
        self._image = image
        self._extra = extra
        self._outputs: Outputs | None = None
        self._asked = False

    @property
    def answer(self) -> Outputs | None:
        """The outputs by name; None as long as nobody asked."""
        return self._outputs

    def __call__(self) -> Outputs | None:
        """Returns the outputs by name, None when the network cannot be run here."""
        if not self._asked:
            self._asked = True
            self._outputs = self._run()
        return self._outputs

    def _run(self) -> Outputs | None:
        options = ort.SessionOptions()
        options.log_severity_level = _ORT_ERRORS_ONLY
        try:
            session = ort.InferenceSession(
                self._model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            names = [output.name for output in session.get_outputs()]
            return dict(zip(names, session.run(names, self._feed()), strict=True))
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            log.info("the network cannot be probed: %s", error)
            return None

    def _feed(self) -> dict[str, NDArray[np.generic]]:
        shape = [size or 1 for size in self._image.shape]
        noise = np.random.default_rng(0).uniform(
            0.3, 0.7, shape
        )  # between 0 and 1: near black where 0..255 is meant
        dtype = np.dtype(self._image.dtype)
        picture = (noise * 255).astype(dtype) if np.issubdtype(dtype, np.integer) else noise.astype(dtype)
        batch = shape[0] if len(shape) == 4 else 1
        return {self._image.name: picture} | {
            name: np.repeat(value[None], batch, axis=0) for name, value in self._extra.items()
        }
