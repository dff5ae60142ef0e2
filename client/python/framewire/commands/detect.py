"""`framewire detect`: pictures, folders and videos through a server."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console

from framewire import _sources
from framewire._errors import FramewireError
from framewire._sync import Client
from framewire._types import Frame, FrameResult
from framewire.commands.outputs import Annotated as AnnotatedOutput
from framewire.commands.outputs import Origin, json_line, json_lines
from framewire.commands.private_server import private_server
from framewire.commands.progress import Tally

_DEFAULT_SERVER = "localhost:50051"


def detect(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Pictures, folders, video files.")
    ],
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help=f"Default {_DEFAULT_SERVER}, unless --model is given."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A model of the server by name; a file is served privately for this command."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PATH", help="Write annotated pictures and videos."),
    ] = None,
    json: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Write one line of JSON a frame.")
    ] = None,
    score_threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Least score.")] = None,
    labels: Annotated[str | None, typer.Option(metavar="A,B", help="Report only these labels.")] = None,
    jpeg_quality: Annotated[int, typer.Option(min=1, max=100, help="For frames of videos.")] = 90,
) -> None:
    """Find objects in pictures, folders of pictures and videos.

    framewire detect street.jpg --model yolov8n.onnx --output boxes.jpg

    framewire detect clip.mp4 photos/ --server gpu:50051 --json results.jsonl --labels person,car
    """
    # With JSON on the standard output, everything for people goes to the other one.
    console = Console(stderr=json == "-", highlight=False, soft_wrap=True)
    try:
        with contextlib.ExitStack() as stack:
            paths = _checked(sources)
            target, name = server or _DEFAULT_SERVER, model or ""
            if model and _is_file(model):
                if server:
                    sys.exit("framewire: give either --server, or a model file to serve privately")
                target, name = stack.enter_context(private_server(Path(model))), ""
            client = stack.enter_context(Client(target, jpeg_quality=jpeg_quality))
            lines = stack.enter_context(json_lines(json))
            annotated = AnnotatedOutput(output, single=_is_single(paths)) if output else None
            wanted = [label.strip() for label in labels.split(",")] if labels else None
            tally = stack.enter_context(Tally(console, _count(paths)))
            results = client.stream(
                _frames(paths), model=name, score_threshold=score_threshold, labels=wanted, overload="wait"
            )
            _consume(results, tally, console, lines, annotated)
    except FramewireError as error:
        sys.exit(f"framewire: {error}")
    console.print(tally.summary())
    if annotated:
        console.print("wrote " + ", ".join(str(path) for path in annotated.written[:5])
                      + (f" and {len(annotated.written) - 5} more" if len(annotated.written) > 5 else ""))  # fmt: skip
    if tally.outcomes["error"] or tally.outcomes["dropped"]:
        raise typer.Exit(1)


def _consume(
    results: Iterator[FrameResult],
    tally: Tally,
    console: Console,
    lines: IO[str] | None,
    annotated: AnnotatedOutput | None,
) -> None:
    try:
        for result in results:
            origin: Origin = result.tag
            tally.add(result)
            if lines:
                lines.write(json_line(result, origin) + "\n")
            if annotated:
                annotated.write(result, origin)
            if origin.time is None or not result.ok:
                console.print(_describe(result, origin))
    finally:
        if annotated:
            annotated.close()


def _describe(result: FrameResult, origin: Origin) -> str:
    where = str(origin.source) if origin.time is None else f"{origin.source} at {origin.time:.2f} s"
    if not result.ok:
        return f"{where}: {result.outcome}: {result.reason} {result.message}".rstrip()
    found = ", ".join(f"{item.label} {item.score:.2f}" for item in result.found)
    return f"{where}: {found or 'nothing found'}"


def _is_file(model: str) -> bool:
    """Whether `model` means a file rather than a name: it exists, or is written like one."""
    path = Path(model)
    return path.exists() or path.suffix.lower() in {".onnx", ".engine", ".plan", ".pt"} or len(path.parts) > 1


def _checked(sources: list[str]) -> list[Path]:
    """Folders become their pictures. Raises FramewireError for what is not there, before anything starts."""
    paths: list[Path] = []
    for source in sources:
        if _sources.is_live(source):
            sys.exit(
                f"framewire: {source} is a camera; this command takes files. In Python: client.stream({source!r})"
            )
        path = Path(source)
        paths += [path] if _is_video(path) else _sources.pictures(path)
    return paths


def _is_video(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() not in _sources.PICTURE_SUFFIXES


def _is_single(paths: list[Path]) -> bool:
    return len(paths) == 1


def _count(paths: list[Path]) -> int | None:
    """How many frames there will be; None when a video does not tell."""
    return None if any(_is_video(path) for path in paths) else len(paths)


def _frames(paths: list[Path]) -> Iterator[Frame]:
    for path in paths:
        if _is_video(path):
            for frame in _sources.video(path):
                _, seconds = frame.tag
                yield Frame(frame.image, tag=Origin(path, frame.image, seconds))
        else:
            yield Frame(path, tag=Origin(path, None, None))
