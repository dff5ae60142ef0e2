"""A model's answers to many pictures, through server and SDK as in production."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from framewire import Client, Frame, FrameResult, FramewireError, Options
from framewire.commands.private_server import private_server

_MODEL_SUFFIXES = frozenset({".onnx", ".engine", ".plan", ".pt"})
_SENT_AS_THEY_ARE = (b"\xff\xd8", b"\x89PNG\r\n\x1a\n")
_MOST_MAGIC = 8


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model found in one picture."""

    boxes: NDArray[np.float64]
    """float64 [n, 4]: left, top, right, bottom in pixels of the upright picture."""
    scores: NDArray[np.float64]
    """float64 [n], 0 to 1, best first."""
    class_ids: NDArray[np.intp]
    """int [n]: indices of the model's labels."""
    width: int = 0
    """Width of the upright picture in pixels; 0 when the model did not answer."""
    height: int = 0
    """Height of the upright picture in pixels; 0 when the model did not answer."""
    failure: str = ""
    """Why the model did not answer; empty when it did."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """A model, and what it answered to each picture."""

    asked: str
    """The file or name that the user gave."""
    model: str
    version: str
    labels: tuple[str, ...]
    options: Options
    """As they really applied."""
    of: tuple[Answer, ...]
    """One a picture, in the order of the pictures."""

    @property
    def failed(self) -> dict[int, str]:
        """Why pictures were not answered, by their index."""
        return {index: answer.failure for index, answer in enumerate(self.of) if answer.failure}


class WrongModel(FramewireError):
    """A model was named in a way that cannot work."""


def is_file(model: str) -> bool:
    """Whether `model` means a file rather than a name on a server."""
    path = Path(model)
    return path.is_file() or path.suffix.lower() in _MODEL_SUFFIXES or len(path.parts) > 1


def check_models(models: Sequence[str], server: str | None) -> None:
    """Raises WrongModel when a file is missing, a name has no server, or the server no name."""
    for model in models:
        if is_file(model) and not Path(model).is_file():
            raise WrongModel(f"{model}: no such file")
        if not is_file(model) and server is None:
            raise WrongModel(
                f"{model}: no such file; a model of a running server is named with --server HOST:PORT"
            )
    if server is not None and all(map(is_file, models)):
        raise WrongModel(
            f"--server is for models by name, and {', '.join(models)} "
            f"{'is a file' if len(models) == 1 else 'are files'}; files are served privately, without --server"
        )


def answers(
    model: str,
    server: str | None,
    pictures: Sequence[Path],
    options: Options,
    *,
    check_labels: Callable[[tuple[str, ...]], object] = lambda labels: None,
    heard: Callable[[FrameResult], object] = lambda result: None,
) -> Answers:
    """Sends the pictures to a model: a file is served privately, a name is of `server`. Options that are None are
    the model's. `check_labels` may raise before anything is sent; `heard` gets each result as it comes.

    Raises FramewireError.
    """
    with contextlib.ExitStack() as stack:
        private = is_file(model)
        target = stack.enter_context(private_server(Path(model))) if private else server
        assert target is not None  # see check_models
        client = stack.enter_context(Client(target))
        name = "" if private else model
        described = client.model(name)
        if described.state == "ready":  # else opening the stream says what is wrong
            check_labels(described.labels)
        stream = client.stream(
            _frames(pictures),
            model=name,
            score_threshold=options.score_threshold,
            iou_threshold=options.iou_threshold,
            max_detections=options.max_detections,
            overload="wait",
            name="framewire eval",
        )
        found: list[Answer] = []
        with stream:
            info = stream.info
            for result in stream:
                heard(result)
                found.append(answer_of(result))
        return Answers(model, info.model, info.model_version, info.labels, info.options, tuple(found))


def answer_of(result: FrameResult) -> Answer:
    """A result as arrays: lists of objects would need gigabytes for a large dataset."""
    edges = [
        (item.pixels.left, item.pixels.top, item.pixels.right, item.pixels.bottom) for item in result.found
    ]
    failure = "" if result.ok else f"{result.reason}: {result.message}".removesuffix(": ")
    return Answer(
        np.array(edges, np.float64).reshape(-1, 4),
        np.array([item.score for item in result.found], np.float64),
        np.array([item.class_id for item in result.found], np.intp),
        result.width,
        result.height,
        failure,
    )


def _frames(pictures: Sequence[Path]) -> Iterator[Frame]:
    for path in pictures:
        yield Frame(_exactly(path))


def _exactly(path: Path) -> Path | bytes:
    """What to send: JPEG and PNG files as they are; another picture as PNG, which loses nothing."""
    try:
        with path.open("rb") as file:
            if file.read(_MOST_MAGIC).startswith(_SENT_AS_THEY_ARE):
                return path
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return path  # the SDK says what is wrong with it
    return path if picture is None else cv2.imencode(".png", picture)[1].tobytes()
