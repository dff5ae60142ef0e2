"""`framewire demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from framewire_server.cli.extras import require


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where the video and the picture go.")
    ] = Path("demo-output"),
) -> None:
    """Serve the bundled model, stream a clip to it, and show what was found."""
    require("demo", "demo")
    from framewire import FramewireError
    from framewire_server.demo.run import run

    try:
        run(output)
    except FramewireError as error:
        sys.exit(f"framewire: {error}")
