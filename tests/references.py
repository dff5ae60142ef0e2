"""The real models, and how they are served to be compared with independent reference results."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from framewire import AsyncClient, Frame
from framewire.commands.outputs import Origin, json_line
from tests.serving import served

MODEL_FILES = Path(__file__).parent / "model_files"
PICTURES = 19


@dataclass(frozen=True, slots=True)
class Reference:
    """A real model and the file of its reference detections."""

    folder: str
    file: str
    golden: str

    @property
    def name(self) -> str:
        """The model's name."""
        return self.file.removesuffix(".onnx")

    @property
    def model_file(self) -> Path | None:
        """What its owner must state, if anything."""
        path = MODEL_FILES / f"{self.name}.yaml"
        return path if path.is_file() else None

    def install(self, shared: Path, folder: Path) -> Path:
        """Lays the model out as a user would have it: with what came with it, and its model file."""
        source = shared / "data/models" / self.folder
        for path in source.iterdir():
            if path.suffix in (".txt", ".cfg"):
                shutil.copy(path, folder / path.name)
        target = folder / self.file
        target.symlink_to(source / self.file)
        if self.model_file:
            shutil.copy(self.model_file, target.with_suffix(".yaml"))
        return target


_NAMES = (
    ("yolov8n_640", "yolov8n_640", "yolov8n_640"),
    ("pedestrian-and-vehicle-detector-adas-0001",) * 3,
    ("yolo-fastest-1.1", "yolo-fastest-1.1.raw", "yolo-fastest-1.1"),
    ("yolo-fastest-1.1", "yolo-fastest-1.1.decoded", "yolo-fastest-1.1"),
    ("yolox_nano_416", "yolox_nano_416", "yolox_nano_416"),
    ("yolox_nano_416", "yolox_nano_416_efficientnms", "yolox_nano_416_e2e"),
    ("yolox_nano_416", "yolox_nano_416_e2e6", "yolox_nano_416_e2e"),
    ("nanodet_m_416", "nanodet_m_416", "nanodet_m_416"),
    ("ultraface_RFB-320", "ultraface_RFB-320", "ultraface_RFB-320"),
    ("deimv2_atto_320", "deimv2_atto_320", "deimv2_atto_320"),
)
REFERENCES = tuple(Reference(folder, f"{file}.onnx", f"{golden}.json") for folder, file, golden in _NAMES)


VIDEO = "video__one-by-one-person-detection__"
IN_VIDEO = tuple(r for r in REFERENCES if r.golden.removesuffix(".json") in (
    "yolov8n_640", "pedestrian-and-vehicle-detector-adas-0001", "yolo-fastest-1.1", "yolox_nano_416"
))  # fmt: skip
"""Those with references for frames of a clip, too."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a server said of all pictures."""

    lines: Sequence[str]
    """JSON Lines, as `framewire detect --json` writes them."""
    largest_batch: int


async def answers(
    model: Path, shared: Path, reference: Reference, max_batch: int, **settings: Any
) -> Answers:
    """Streams all photographs through a real server and the SDK. A wait for company makes batches of the size asked
    for, whatever the machine's speed."""
    golden = json.loads((shared / "data/goldens" / reference.golden).read_text())
    lines, sizes = [], set()
    async with (
        served(
            model,
            max_batch=max_batch,
            batch_wait_ms=1000 if max_batch > 1 else 0,
            lanes=1,
            window=32,
            **settings,
        ) as server,
        AsyncClient(server.address) as client,
    ):
        least = golden["compare"]["stored_score_min"]
        async for result in client.stream(shared / "data/images", score_threshold=least, overload="wait"):
            sizes.add(result.batch_size)
            lines.append(json_line(result, Origin(result.tag, None, None)))
    return Answers(lines, max(sizes))


async def video_answers(model: Path, shared: Path, golden: str) -> tuple[Sequence[str], str]:
    """Streams the frames of a clip that have references, uncompressed. Returns JSON Lines, and those references in
    the words that the judge reads for pictures."""
    content = json.loads((shared / "data/goldens" / golden).read_text())
    wanted = {frame["frame"]: frame["detections"] for frame in content["frames"]}
    async with served(model) as server, AsyncClient(server.address) as client:
        least = content["compare"]["stored_score_min"]
        frames = _frames(shared / "data" / content["video"], wanted.keys())
        lines = [
            json_line(result, Origin(Path(f"frame-{result.tag}"), None, None))
            async for result in client.stream(frames, score_threshold=least, overload="wait")
        ]
    images = [
        {"image": f"frame-{n}", "width": content["width"], "height": content["height"], "detections": found}
        for n, found in wanted.items()
    ]
    return lines, json.dumps({"model": content["model"], "compare": content["compare"], "images": images})


def _frames(video: Path, wanted: Collection[int]) -> Iterator[Frame]:
    capture = cv2.VideoCapture(str(video))
    for n in range(max(wanted) + 1):
        assert capture.grab()
        if n in wanted:
            picture = capture.retrieve()[1]
            height, width = picture.shape[:2]
            yield Frame(picture.tobytes(), encoding="bgr8", width=width, height=height, tag=n)
    capture.release()


def verdict(shared: Path, golden: str | Path, results: Path) -> subprocess.CompletedProcess[str]:
    """Has the judge, a program of its own, compare JSON Lines with the references."""
    judge, references = (
        shared / "tools/match_goldens.py",
        shared / "data/goldens" / golden,
    )  # or an absolute path
    return subprocess.run(
        [sys.executable, judge, references, results], capture_output=True, text=True, check=False
    )
