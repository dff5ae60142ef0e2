"""`framewire models convert`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from framewire_server.cli.extras import require
from framewire_server.cli.whole_files import write_whole

if TYPE_CHECKING:
    import onnx


def convert(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An ONNX file that ends in a TensorRT plugin.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="Default: FILE-raw.onnx beside it.")
    ] = None,
) -> None:
    """Take the suppression plugin out of an ONNX file, so that it loads without TensorRT, and in TensorRT 11.

    This is for other programs and for building plans: `framewire serve FILE` does it by itself. What the plugin was
    and how it was set up stays in the new file, which is served just as the old one.
    """
    require("server", "models convert")
    from framewire_server.errors import OperatorError

    target = output or file.parent / f"{file.stem}-raw.onnx"
    try:
        lines = _convert(file, target)
    except OperatorError as error:
        sys.exit(f"framewire: {error}")
    except OSError as error:
        sys.exit(f"framewire: {target}: cannot be written: {error.strerror or error}")
    for line in lines:
        typer.echo(line)


def _convert(file: Path, target: Path) -> list[str]:
    """Writes the converted file and returns what to tell. Raises ModelError when there is nothing to convert."""
    from framewire_server.errors import ModelError
    from framewire_server.models.network import onnx_file, surgery
    from framewire_server.models.network.formats import sniff
    from framewire_server.models.network.suppression_node import KEY, KINDS

    sniff(file)
    if target.exists() and target.samefile(file):
        raise ModelError(f"{target}: is the input; name another file with --output")
    if target.is_dir():
        raise ModelError(f"{target}: is a directory; name a file")
    model = onnx_file.load(file)
    try:
        node = surgery.find(model)
        cut = surgery.without_plugin(model)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error
    if node is None:
        if any(entry.key == KEY for entry in model.metadata_props):
            raise ModelError(f"{file}: nothing to convert: its plugin was taken out before")
        raise ModelError(f"{file}: nothing to convert: it does not end in {', '.join(sorted(KINDS))}")
    _write(cut, file, target)
    return [
        f"{target}: without {node.op_type}",
        *(f"  output  {value.name}" for value in cut.graph.output),
        *(f"note: {note}" for note in _notes(cut, file, target)),
    ]


def _write(model: onnx.ModelProto, file: Path, target: Path) -> None:
    from google.protobuf.message import EncodeError

    from framewire_server.errors import ModelError

    try:
        content = model.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise ModelError(f"{file}: is too large for one file of 2 GiB, which ONNX allows") from error
    write_whole(target, content)


def _notes(model: onnx.ModelProto, file: Path, target: Path) -> list[str]:
    from framewire_server.models.network import surgery

    notes = []
    if others := surgery.other_plugins(model):
        notes.append(
            f"it still holds {', '.join(others)}, which ONNX does not have: only TensorRT may load it"
        )
    for suffix in (".yaml", ".labels.txt", ".txt", ".names"):
        beside = file.with_suffix(suffix)
        if beside.is_file() and not target.with_suffix(suffix).is_file():
            notes.append(f"{beside.name} goes with {file.name}: copy it to {target.with_suffix(suffix)}")
    return notes
