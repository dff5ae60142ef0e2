"""`framewire models inspect` and `framewire models schema`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from framewire_server.cli.extras import require

if TYPE_CHECKING:
    from framewire_server.models.spec import ModelSpec

_MOST_LABELS = 12


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model file, or the folder of one.")],
    write: Annotated[
        bool, typer.Option("--write", help="Write the model file beside the model, if there is none.")
    ] = False,
) -> None:
    """Show a model's tensors, its family, and how it would be served, with the reasons.

    Ends with a model file that states all of it, to be edited where it is wrong.
    """
    require("server", "models inspect")
    from framewire_server.errors import OperatorError
    from framewire_server.models.recognition import recognise
    from framewire_server.models.stated import text as model_file_text
    from framewire_server.pipeline.gpus import OneGpuOrNone

    try:
        spec = recognise(file, reader=OneGpuOrNone())
    except OperatorError as error:
        _refuse(file, str(error), write)
        return
    typer.echo(_report(spec))
    for line in _plan(spec.path):
        typer.echo(line)
    _hand_over(spec.path, model_file_text.of_spec(spec), write)


def schema() -> None:
    """Print the JSON schema of model files, for editors."""
    require("server", "models schema")
    from framewire_server.models.stated.schema import json_schema

    typer.echo(json_schema(), nl=False)


def _report(spec: ModelSpec) -> str:
    labels = ", ".join(spec.labels[:_MOST_LABELS]) + (", ..." if len(spec.labels) > _MOST_LABELS else "")
    lines = [
        f"{spec.path}",
        "",
        spec.signature.table(),
        "",
        f"family         {spec.family}",
        f"input          {spec.input_width}x{spec.input_height}",
        f"preprocessing  {spec.preprocessing}",
        f"labels         {f'{len(spec.labels)}: {labels}' if labels else 'none'}",
        f"score          from {max(spec.score_threshold, spec.baked_score):g}",
        f"suppression    {_suppression(spec)}",
        f"version        {spec.version}",
        "",
        "why",
        *(f"  - {reason}" for reason in spec.evidence),
    ]
    unsure = [f"  ? {doubt}" for doubt in spec.doubts] + [
        f"  ? {latch.question}: decided on the first frame with detections"
        for latch in spec.latches
        if latch.verdict is None
    ]
    if unsure:
        lines += ["", "in doubt", *unsure]
    if spec.warnings:
        lines += ["", "mind", *(f"  ! {warning}" for warning in spec.warnings)]
    return "\n".join(lines)


def _plan(path: Path) -> list[str]:
    """What is noted in a plan file of ours on how it was built."""
    from framewire_server.engines.tensorrt.cache import OURS
    from framewire_server.models.network.formats import is_plan
    from framewire_server.pipeline.gpus import notes

    ours = notes(path).get(OURS) if is_plan(path) else None
    if not ours:
        return []
    target, batches = ours.get("built_for", {}), ours.get("batches", ())
    return [
        "",
        "the plan",
        f"  built for    {target.get('gpu')} (compute capability {target.get('compute_capability')})",
        f"  TensorRT     {target.get('tensorrt')}, driver {target.get('driver') or 'unknown'}",
        f"  precision    {ours.get('precision')}",
        f"  batches      {', '.join(map(str, batches))}",
        f"  anchors      {_top_k(ours.get('top_k'))}",
    ]


def _top_k(count: int | None) -> str:
    return "all" if count is None else f"the best {count} of each picture (top-k)"


def _suppression(spec: ModelSpec) -> str:
    if spec.iou_threshold is not None:
        return f"IoU {spec.iou_threshold:g}"
    if spec.signature.stated.suppress is False:
        return "none, as the model file states"
    return "not needed: the model's boxes are final"


def _refuse(file: Path, message: str, write: bool) -> None:
    """Says why a model cannot be served, shows its tensors, and which keys could help; ends the program."""
    from framewire_server.errors import OperatorError
    from framewire_server.models.places import locate, model_file_of
    from framewire_server.models.recognition import look
    from framewire_server.models.registry import offered
    from framewire_server.models.stated import text as model_file_text
    from framewire_server.pipeline.gpus import OneGpuOrNone

    typer.echo(f"framewire: {message}", err=True)
    try:
        path, table, known = locate(file), look(file, OneGpuOrNone()).table(), offered()
        has_model_file = model_file_of(path).is_file()
    except OperatorError:
        sys.exit(1)  # what hinders is said, and is not in the tensors
    if table not in message:
        typer.echo(table)
    reason = message.removeprefix(f"{path}: ").replace(table, "")
    text = None if has_model_file else model_file_text.of_refusal(reason, known)
    if text is not None:
        _hand_over(path, text, write)
    elif write:
        why = "there is one, and it stays as it is" if has_model_file else "nothing that it could state helps"
        typer.echo(f"framewire: no model file is written: {why}", err=True)
    sys.exit(1)


def _hand_over(model: Path, text: str, write: bool) -> None:
    """Prints a model file, or writes it where there is none."""
    from framewire_server.models.places import model_file_of

    place = model_file_of(model)
    if not write:
        where = "instead" if place.is_file() else f"beside {model.name}"
        typer.echo(f"\n{place.name}, as it could be {where}:\n\n{text}", nl=False)
        return
    try:
        with place.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        sys.exit(f"framewire: {place}: is there already, and stays as it is")
    except OSError as error:
        sys.exit(f"framewire: {place}: cannot be written: {error.strerror}")
    typer.echo(f"\nwrote {place}")
