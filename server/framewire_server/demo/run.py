"""Serves the bundled model in a process of its own, streams the bundled clip to it through the SDK, and shows
what came back: a table, an annotated video and a contact sheet."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from framewire import Client, Frame, FrameResult, FramewireError
from framewire._sources import video
from framewire.commands.draw import draw
from framewire.commands.outputs import Annotated, Origin
from framewire.commands.private_server import private_server
from framewire.commands.progress import percentile
from framewire_server.demo.accuracy import Accuracy, accuracy

_SCORE_THRESHOLD = 0.3
_LEAST_SCORE = 0.001  # average precision integrates over all scores
_MAX_BATCH = 4
_SHEET_COLUMNS, _SHEET_ROWS, _SHEET_GAP = 3, 3, 8


def run(output: Path) -> None:
    """Runs the demo; writes demo.mp4 and contact-sheet.png into `output`. Raises FramewireError."""
    console = Console(highlight=False)
    output.mkdir(parents=True, exist_ok=True)
    with as_file(files("framewire_server.demo")) as folder:
        truth = json.loads((folder / "truth.json").read_text())
        console.print("Starting a server with the bundled model in a second process ...")
        with private_server(folder / "detector.onnx", "--max-batch", str(_MAX_BATCH)) as address:
            console.print(f"Streaming {len(truth['frames'])} frames of the bundled clip to {address} ...")
            with Client(address) as client:
                clip = folder / truth["clip"]
                started = time.monotonic()
                results = list(
                    client.stream(_frames(clip), score_threshold=_SCORE_THRESHOLD, overload="wait")
                )
                seconds = time.monotonic() - started
                console.print("Measuring accuracy against the clip's ground truth ...")
                weak = list(client.stream(_frames(clip), score_threshold=_LEAST_SCORE, overload="wait"))
    console.print(_table(results, seconds, accuracy(truth, weak)))
    console.print(f"Look at {_write_video(output, results)}")
    console.print(f"    and {_write_sheet(output, results)}")
    if not all(result.ok for result in results):
        raise FramewireError("not every frame was answered")


def _frames(clip: Path) -> Iterator[Frame]:
    for frame in video(clip):
        _, seconds = frame.tag
        yield Frame(frame.image, tag=Origin(clip, frame.image, seconds))


def _table(results: Sequence[FrameResult], seconds: float, measured: Accuracy) -> Table:
    outcomes = Counter(result.outcome for result in results)
    latencies = [1000 * result.latency.total for result in results if result.ok]
    server = [1000 * result.timings.total for result in results if result.ok]
    batches = Counter(result.batch_size for result in results if result.ok)
    objects = Counter(found.label for result in results for found in result.found)
    table = Table(title="Framewire demo", show_header=False, title_style="bold")
    rows = {
        "frames": f"{len(results)}: {outcomes['detections']} answered, {outcomes['dropped']} dropped, "
        f"{outcomes['error']} failed",
        "speed": f"{len(results) / seconds:.0f} frames/s, video decoding and JPEG encoding included",
        "latency": f"p50 {percentile(latencies, 0.5):.1f} ms, p99 {percentile(latencies, 0.99):.1f} ms, "
        f"of which the server p50 {percentile(server, 0.5):.1f} ms",
        "batch sizes": ", ".join(
            f"{count} frames in batches of {size}" for size, count in sorted(batches.items())
        ),
        "objects": ", ".join(f"{count} {label}" for label, count in objects.most_common()),
        "accuracy": f"mAP@[.5:.95] {measured.map_50_95:.3f}, mAP@.5 {measured.map_50:.3f} against the clip's truth",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _write_video(output: Path, results: Sequence[FrameResult]) -> Path:
    target = output / "demo.mp4"
    annotated = Annotated(target, single=True)
    for result in results:
        annotated.write(result, result.tag)
    annotated.close()
    return target


def _write_sheet(output: Path, results: Sequence[FrameResult]) -> Path:
    """Draws frames from all over the clip into one picture."""
    count = _SHEET_COLUMNS * _SHEET_ROWS
    chosen = [results[(2 * n + 1) * len(results) // (2 * count)] for n in range(count)]
    tiles = [draw(result.tag.picture, result) for result in chosen]
    height, width = tiles[0].shape[:2]
    sheet: Any = np.full(
        (
            _SHEET_ROWS * (height + _SHEET_GAP) + _SHEET_GAP,
            _SHEET_COLUMNS * (width + _SHEET_GAP) + _SHEET_GAP,
            3,
        ),
        255,
        np.uint8,
    )
    for n, tile in enumerate(tiles):
        top = _SHEET_GAP + n // _SHEET_COLUMNS * (height + _SHEET_GAP)
        left = _SHEET_GAP + n % _SHEET_COLUMNS * (width + _SHEET_GAP)
        sheet[top : top + height, left : left + width] = tile
    target = output / "contact-sheet.png"
    cv2.imwrite(str(target), sheet)
    return target
