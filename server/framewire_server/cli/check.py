"""`framewire models check`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from framewire_server.cli.extras import require


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model file, or the folder of one.")],
    pictures: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Pictures, or folders of them.")],
    golden: Annotated[
        Path | None, typer.Option(help="Compare with the reference detections in a file.")
    ] = None,
    write_golden: Annotated[
        Path | None, typer.Option(help="Write what was found as reference detections.")
    ] = None,
    try_presets: Annotated[
        bool, typer.Option("--try", help="Try other ways of preparing pictures, even if all looks right.")
    ] = False,
    choose: Annotated[
        str | None,
        typer.Option(metavar="KEYS", help="Write to the model file first, for example 'preset: yolox'."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where pictures go.")] = Path(
        "framewire-check"
    ),
) -> None:
    """Run a model as it would be served, on your pictures, and say whether that looks right.

    Boxes are drawn into --output. Where it is in doubt how pictures must be prepared (colour, scale, resize), the
    usual ways are tried and shown side by side on a contact sheet, to choose one of them.
    """
    require("server", "models check")
    from framewire import FramewireError
    from framewire_server.errors import OperatorError
    from framewire_server.quality import goldens
    from framewire_server.quality.checking import Check

    console = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        references = goldens.read(golden) if golden else None
        good = Check(console, file, _files(pictures), output).run(
            references=references, write_golden=write_golden, try_others=try_presets, choose=choose
        )
    except (OperatorError, FramewireError) as error:
        sys.exit(f"framewire: {error}")
    except OSError as error:
        sys.exit(
            f"framewire: {error.filename}: {error.strerror}" if error.filename else f"framewire: {error}"
        )
    raise typer.Exit(0 if good else 1)


def _files(sources: Sequence[str]) -> list[Path]:
    """All pictures that are named, and those in folders that are named."""
    from framewire import FramewireError
    from framewire._sources import PICTURE_SUFFIXES

    found: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found += [each for each in sorted(path.iterdir()) if each.suffix.lower() in PICTURE_SUFFIXES]
        elif path.is_file():
            found.append(path)
        else:
            raise FramewireError(f"{path}: no such file")
    if not found:
        raise FramewireError(f"no picture in {', '.join(sources)}")
    return found
