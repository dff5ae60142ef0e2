"""`framewire models inspect`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from framewire_server.cli.extras import require

if TYPE_CHECKING:
    from framewire_server.models.spec import ModelSpec

_MOST_LABELS = 12


def inspect(file: Annotated[Path, typer.Argument(metavar="FILE", help="A model file.")]) -> None:
    """Show a model's tensors, its family, and how it would be served, with the reasons."""
    require("server", "models inspect")
    from framewire_server.errors import OperatorError
    from framewire_server.models.recognition import recognise

    try:
        spec = recognise(file)
    except OperatorError as error:
        sys.exit(f"framewire: {error}")
    typer.echo(_report(spec))


def _report(spec: ModelSpec) -> str:
    labels = ", ".join(spec.labels[:_MOST_LABELS]) + (", ..." if len(spec.labels) > _MOST_LABELS else "")
    iou = (
        "not needed: the model's boxes are final"
        if spec.iou_threshold is None
        else f"IoU {spec.iou_threshold:g}"
    )
    lines = [
        f"{spec.path}",
        "",
        spec.signature.table(),
        "",
        f"family         {spec.family}",
        f"preprocessing  {spec.preprocessing}",
        f"labels         {len(spec.labels)}: {labels}",
        f"score          from {max(spec.score_threshold, spec.baked_score):g}",
        f"suppression    {iou}",
        f"version        {spec.version}",
        "",
        "why",
        *(f"  - {reason}" for reason in spec.evidence),
        *(f"  ! {warning}" for warning in spec.warnings),
    ]
    return "\n".join(lines)
