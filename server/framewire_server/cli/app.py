"""The root of the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from framewire import __version__
from framewire.commands.bench.command import bench
from framewire.commands.detect import detect
from framewire_server.cli.build import build
from framewire_server.cli.check import check
from framewire_server.cli.convert import convert
from framewire_server.cli.demo import demo
from framewire_server.cli.doctor import doctor
from framewire_server.cli.evaluate import evaluate
from framewire_server.cli.inspect import inspect, schema
from framewire_server.cli.serve import serve

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Finds objects in live video. A server answers frames that clients stream to it.\n\n"
    "Try it:  framewire demo\n\n"
    "Serve a model:  framewire serve yolov8n.onnx\n\n"
    "and in another terminal:  framewire detect street.jpg --output boxes.jpg",
)
models = typer.Typer(no_args_is_help=True, help="Look at model files.")
models.command("inspect")(inspect)
models.command("convert")(convert)
models.command("build")(build)
models.command("schema")(schema)
models.command("check")(check)
app.command("serve")(serve)
app.command("detect")(detect)
app.command("bench")(bench)
app.command("eval")(evaluate)
app.add_typer(models, name="models")
app.command("doctor")(doctor)
app.command("demo")(demo)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"framewire {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of all commands."""
