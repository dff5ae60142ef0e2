"""Models without a model file: the fake engine behind the real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from framewire_server.app import Loader
from framewire_server.config import ServerConfig
from framewire_server.core.pipeline import Pipeline
from framewire_server.engines.fake import FakeEngine, FakePreparer
from framewire_server.engines.opencv import OpenCvPreparer
from framewire_server.engines.port import Preparer
from framewire_server.models.families.ssd import SsdRows
from framewire_server.models.repository import Entry
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, ModelSpec
from framewire_server.pipeline.detector import Detector
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import Preprocessing

WIDTH, HEIGHT = 64, 48
LABELS = ("background", "thing")


def fake_spec(name: str = "fake", version: str = "v1", labels: tuple[str, ...] = LABELS) -> ModelSpec:
    """An SSD of one class."""
    engine = FakeEngine(WIDTH, HEIGHT, 1)
    signature = Signature((engine.image,), engine.outputs)
    match = SsdRows().match(signature)
    assert isinstance(match, Match)
    return ModelSpec(
        name=name,
        version=version,
        path=Path(f"{name}.onnx"),
        signature=signature,
        family=match.family,
        preprocessing=Preprocessing(Resize.STRETCH, "bgr"),
        decoder=match.decoder,
        input_width=WIDTH,
        input_height=HEIGHT,
        largest_batch=None,
        labels=labels,
        score_threshold=0.0,
        baked_score=0.0,
        iou_threshold=None,
        max_detections=300,
        class_agnostic=False,
        extra_inputs={},
        evidence=(),
    )


def fake_loader(before: Callable[[int], None] = lambda count: None, *, decode: bool = False) -> Loader:
    """Loads the fake engine for any entry. With `decode` pictures are really decoded and resized; without,
    frames are raw and their first byte is all that counts."""

    def load(entry: Entry, config: ServerConfig) -> Pipeline:
        spec = fake_spec(entry.name)
        engine = FakeEngine(WIDTH, HEIGHT, config.max_batch, before)
        preparer: Preparer = (
            OpenCvPreparer(spec.preprocessing, config.max_frame_pixels) if decode else FakePreparer()
        )
        entry.spec = spec
        return Detector(spec, engine, preparer, batch_wait_s=config.batch_wait_ms / 1000)

    return load


def versioned_loader(
    loading: Callable[[str], None] = lambda version: None, before: Callable[[int], None] = lambda count: None
) -> Loader:
    """Loads the fake engine as the version that is the text of the model's file. `loading` is called with it first, and
    may wait or raise; its labels are those of the fake and the version itself. `before` is called for each batch."""

    def load(entry: Entry, config: ServerConfig) -> Pipeline:
        version = entry.path.read_text()
        loading(version)
        spec = fake_spec(entry.name, version, (*LABELS, version))
        return Detector(spec, FakeEngine(WIDTH, HEIGHT, config.max_batch, before), FakePreparer())

    return load
