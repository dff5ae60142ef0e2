"""One model in this process: pictures in, results out, along the path that frames take in a server."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import onnx

from framewire import Box, Detection, FrameResult
from framewire_server.config import ServerConfig
from framewire_server.core.outcomes import Detection as Found
from framewire_server.errors import FrameFailure
from framewire_server.models.options import resolve
from framewire_server.models.spec import ModelSpec
from framewire_server.pipeline.loading import build
from framewire_server.vision.decode import EncodedFrame, Encoding, Picture

_PNG = b"\x89PNG"


class Runner:
    """A recognised model, loaded once."""

    def __init__(self, spec: ModelSpec, network: onnx.ModelProto) -> None:
        """Raises ModelError when the network cannot be run here."""
        self.spec = spec
        self._detector = build(spec, network, ServerConfig(models=(spec.path,), max_batch=1))
        self._rows = self._detector.new_rows()

    def __call__(self, picture: Path, score_threshold: float | None = None) -> FrameResult:
        """Detects objects in a JPEG or PNG file. A file that does not decode gives a result that says so."""
        try:
            return self.on(self.decode(picture), score_threshold)
        except FrameFailure as failure:
            return FrameResult(0, "error", reason=failure.reason.name.lower(), message=str(failure))

    def decode(self, picture: Path) -> Picture:
        """Decodes a JPEG or PNG file to uint8 [h, w, 3] BGR. Raises FrameFailure."""
        content = picture.read_bytes()
        encoding = Encoding.PNG if content.startswith(_PNG) else Encoding.JPEG
        return cast(Picture, self._detector.decode(EncodedFrame(encoding, content)))

    def on(self, pixels: Picture, score_threshold: float | None = None) -> FrameResult:
        """Detects objects in a decoded picture, uint8 [h, w, 3] BGR."""
        detector = self._detector
        placement = detector.place(pixels, self._rows, 0)
        outputs = detector.infer(self._rows, 1)
        width, height = detector.size_of(placement)
        options = resolve(self.spec, score_threshold=score_threshold)
        found = detector.detect(outputs, 0, placement, options)
        return FrameResult(
            0,
            "detections",
            found=tuple(_for_client(each, width, height) for each in found),
            width=width,
            height=height,
        )


def _for_client(found: Found, width: int, height: int) -> Detection:
    box = Box(found.left, found.top, found.right, found.bottom)
    return Detection(found.label, found.class_id, found.score, box, box.scaled(width, height))
