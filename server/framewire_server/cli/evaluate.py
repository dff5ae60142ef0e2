"""`framewire eval`."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from framewire import FramewireError, Options
from framewire_server.cli.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from framewire_server.quality.answers import Answers

_STANDARD_OUTPUT = "-"


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="A", help="A model file, or with --server the name of a model there.")
    ],
    images: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the pictures.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The truth: a COCO JSON file, or a folder of YOLO text files."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="B", help="A second model, to compare the first with.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where models that are named rather than files run."),
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE|-", help="Write everything as one JSON document.")
    ] = None,
    iou_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Of suppression; unset: the model's own, as in production."),
    ] = None,
) -> None:
    """Measure a model by COCO's average precision, or how far two models agree.

    framewire eval yolov8n.onnx --data instances_val2017.json --images val2017

    framewire eval int8.onnx --against fp32.onnx --data labels/val --images images/val

    framewire eval fp16.onnx --against fp32.onnx --images photos

    Pictures go through a server and the SDK as frames do in production. The status is 1 when a picture was
    missing or not answered: the figures are then not those of the whole dataset.
    """
    require("eval", "eval")
    from framewire_server.errors import OperatorError
    from framewire_server.quality.answers import check_models

    # With JSON on the standard output, everything for people goes to the other one.
    console = Console(
        stderr=json_file == _STANDARD_OUTPUT, highlight=False, soft_wrap=True, markup=False, emoji=False
    )
    try:
        models = [_located(each, server) for each in (model, against) if each is not None]
        check_models(models, server)
        _check_json(json_file)
        if data is not None:
            document = _accuracy(console, models, server, data, images, iou_threshold)
        elif against is not None:
            document = _agreement(console, models, server, images, iou_threshold)
        else:
            sys.exit(
                "framewire: give --data (a COCO JSON file or a folder of YOLO text files) to measure a model, or "
                "--against MODEL to compare two models without any truth"
            )
        _write(json_file, document)
    except (FramewireError, OperatorError, OSError) as error:
        sys.exit(f"framewire: {error}")
    if document.get("missing") or any(each["not_answered"] for each in document["models"]):
        raise typer.Exit(1)


def _located(model: str, server: str | None) -> str:
    """A model file instead of the folder that holds it; with a server a single word is a name, whatever lies here."""
    from framewire_server.models.places import locate

    path = Path(model)
    return str(locate(path)) if path.is_dir() and (server is None or len(path.parts) > 1) else model


def _accuracy(
    console: Console,
    models: Sequence[str],
    server: str | None,
    data: Path,
    images: Path,
    iou_threshold: float | None,
) -> dict[str, Any]:
    from framewire_server.quality import report
    from framewire_server.quality.accuracy import LEAST_SCORE, MOST_DETECTIONS, accuracy, check_classes
    from framewire_server.quality.dataset import read
    from framewire_server.quality.documents import accuracy_document

    dataset = read(data, images)
    options = Options(LEAST_SCORE, iou_threshold, MOST_DETECTIONS)
    paths = [picture.path for picture in dataset.pictures]
    answers = _answers(
        console, models, server, paths, options, lambda _, name, labels: check_classes(dataset, name, labels)
    )
    result = accuracy(dataset, answers)
    for note in report.accuracy_notes(result):
        console.print(note)
    for table in report.accuracy_tables(result):
        console.print()
        console.print(table)
    return accuracy_document(result, images)


def _agreement(
    console: Console, models: Sequence[str], server: str | None, images: Path, iou_threshold: float | None
) -> dict[str, Any]:
    from framewire._sources import pictures
    from framewire_server.quality import report
    from framewire_server.quality.agreement import agreement
    from framewire_server.quality.dataset import check_folder
    from framewire_server.quality.documents import agreement_document

    check_folder(images)
    paths = pictures(images)
    # The models' own thresholds: what counts is what production would see.
    a, b = _answers(console, models, server, paths, Options(iou_threshold=iou_threshold), _share_labels)
    result = agreement(a, b)
    for note in report.agreement_notes(result, a, b, paths):
        console.print(note)
    console.print()
    console.print(report.agreement_table(result))
    return agreement_document(result, a, b, paths, images)


def _share_labels(earlier: Sequence[Answers], model: str, labels: Sequence[str]) -> None:
    from framewire_server.quality.agreement import check_labels

    for other in earlier:
        check_labels(other.labels, labels)


def _answers(
    console: Console,
    models: Sequence[str],
    server: str | None,
    paths: Sequence[Path],
    options: Options,
    check_labels: Callable[[Sequence[Answers], str, Sequence[str]], object],
) -> list[Answers]:
    """Runs one model after the other, with a bar; what is wrong with a model's labels is said before it runs."""
    from framewire.commands.progress import Tally
    from framewire_server.quality.answers import answers
    from framewire_server.quality.report import describe

    gathered: list[Answers] = []
    for letter, model in zip("AB", models, strict=False):
        with Tally(console, len(paths)) as tally:
            check = partial(check_labels, tuple(gathered), model)
            gathered.append(answers(model, server, paths, options, check_labels=check, heard=tally.add))
        console.print(describe(letter, gathered[-1]))
        console.print(f"   {tally.summary()}")
    return gathered


def _check_json(json_file: str | None) -> None:
    """Ends before the work what could not be written after it."""
    if json_file is not None and json_file != _STANDARD_OUTPUT:
        if Path(json_file).is_dir():
            sys.exit(f"framewire: --json {json_file}: is a folder")
        Path(json_file).parent.mkdir(parents=True, exist_ok=True)


def _write(json_file: str | None, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2) + "\n"
    if json_file == _STANDARD_OUTPUT:
        sys.stdout.write(text)
    elif json_file is not None:
        Path(json_file).write_text(text, encoding="utf-8")
