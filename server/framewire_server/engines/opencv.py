"""The Preparer of the CPU: OpenCV decodes and resizes."""

from __future__ import annotations

from framewire_server.engines.port import ByteRows
from framewire_server.vision.decode import EncodedFrame, Picture, decode
from framewire_server.vision.geometry import Placement
from framewire_server.vision.placing import place
from framewire_server.vision.preprocessing import Preprocessing


class OpenCvPreparer:
    """Prepares rows as a model wants them."""

    def __init__(self, preprocessing: Preprocessing, max_pixels: int) -> None:
        self._preprocessing = preprocessing
        self._max_pixels = max_pixels

    def decode(self, frame: EncodedFrame) -> Picture:
        """See Preparer."""
        return decode(frame, self._max_pixels)

    def place(self, picture: Picture, rows: ByteRows, row: int) -> Placement:
        """See Preparer."""
        return place(picture, rows[row], self._preprocessing)
