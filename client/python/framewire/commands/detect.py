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
from framewire._events import Connected, Event, Lost
from framewire._sync import Client
from framewire._types import Frame, FrameResult
from framewire.commands.outputs import Annotated as AnnotatedOutput
from framewire.commands.outputs import Origin, json_line, json_lines
from framewire.commands.private_server import means_a_file, private_server
from framewire.commands.progress import Tally

_DEFAULT_SERVER = "localhost:50051"
_JPEG_QUALITY = 90
_MOST_NAMED = 5
_RECONNECT_S = 60.0


def detect(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE", help="Pictures, folders, video files.")],
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
    jpeg_quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="For frames of videos. Unset: uncompressed to a server on this machine, 90 to others.",
        ),
    ] = None,
) -> None:
    """Find objects in pictures, folders of pictures and videos.

    framewire detect street.jpg --model yolov8n.onnx --output boxes.jpg

    framewire detect clip.mp4 photos/ --server gpu:50051 --json results.jsonl --labels person,car
    """
    # With JSON on the standard output, everything for people goes to the other one.
    console = Console(stderr=json == "-", highlight=False, soft_wrap=True, markup=False)
    wanted = [label.strip() for label in labels.split(",")] if labels else None
    try:
        with contextlib.ExitStack() as stack:
            paths = _checked(sources)
            annotated = AnnotatedOutput(output, single=len(paths) == 1) if output else None
            lines = stack.enter_context(json_lines(json))
            target, name = _server(stack, server, model)
            client = stack.enter_context(Client(target, jpeg_quality=jpeg_quality or _JPEG_QUALITY))
            exact_bytes = (
                client.model(name).max_frame_bytes if jpeg_quality is None and _is_here(target) else 0
            )
            tally = stack.enter_context(Tally(console, _count(paths)))
            results = client.stream(
                _frames(paths, exact_bytes),
                model=name,
                score_threshold=score_threshold,
                labels=wanted,
                overload="wait",
                # A private server that has died does not come back.
                reconnect_timeout=0 if model is not None and means_a_file(model) else _RECONNECT_S,
                on_event=_Connection(console).note,
            )
            _consume(results, tally, console, lines, annotated)
    except (FramewireError, OSError, ValueError) as error:
        sys.exit(f"framewire: {error}")
    console.print(tally.summary())
    if annotated:
        console.print(_written(annotated.written))
    if tally.outcomes["error"] or tally.outcomes["dropped"]:
        raise typer.Exit(1)


class _Connection:
    """Says when the connection is lost and when it is back."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_lost = False

    def note(self, event: Event) -> None:
        """Prints what people must know of an event of the stream."""
        if isinstance(event, Lost):
            self._is_lost = True
            self._console.print(
                f"connection to {event.server} lost, {event.unanswered} frames unanswered: trying again for up to "
                f"{_RECONNECT_S:g} s"
            )
        elif isinstance(event, Connected) and self._is_lost:
            self._is_lost = False
            self._console.print(f"connected to {event.server}: going on")


def _server(stack: contextlib.ExitStack, server: str | None, model: str | None) -> tuple[str, str]:
    """Returns HOST:PORT and the model's name; a model file gets a private server in `stack`."""
    if model is None or not means_a_file(model):
        return server or _DEFAULT_SERVER, model or ""
    if server:
        sys.exit("framewire: give either --server, or a model file to serve privately")
    return stack.enter_context(private_server(Path(model))), ""


def _is_here(target: str) -> bool:
    """Whether a server runs on this machine, so that bytes are cheaper than compressing them."""
    host = target.rpartition(":")[0].strip("[]")
    return host in ("", "localhost", "::1") or host.startswith("127.")


def _written(paths: list[Path]) -> str:
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    return "wrote " + ", ".join(str(path) for path in paths[:_MOST_NAMED]) + more


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


def _count(paths: list[Path]) -> int | None:
    """How many frames there will be; None when a video does not tell."""
    return None if any(_is_video(path) for path in paths) else len(paths)


def _frames(paths: list[Path], exact_bytes: int) -> Iterator[Frame]:
    """Yields what to send; pictures of a video uncompressed if they have `exact_bytes` at most."""
    for path in paths:
        if not _is_video(path):
            yield Frame(path, tag=Origin(path, None, None))
            continue
        for frame in _sources.video(path):
            picture, (_, seconds) = frame.image, frame.tag
            origin = Origin(path, picture, seconds)
            if picture.nbytes <= exact_bytes:
                height, width = picture.shape[:2]
                yield Frame(picture.tobytes(), tag=origin, encoding="bgr8", width=width, height=height)
            else:
                yield Frame(picture, tag=origin)
