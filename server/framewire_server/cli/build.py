"""`framewire models build`."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from framewire_server.cli.extras import require
from framewire_server.cli.whole_files import write_whole
from framewire_server.threads import Daemon

if TYPE_CHECKING:
    from framewire_server.cli.build_bar import BuildBar
    from framewire_server.pipeline.building import Plan, Recipe

_INTERRUPTED = 130
_MIB = 1 << 20
_LOOK_UP_S = 0.2
_MOST_BATCH = 16
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def build(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="An ONNX file, or the folder of one.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="Default: FILE.plan beside it.")
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8"],
        typer.Option(help="int8 takes a network that is quantised already (docs/int8.md)."),
    ] = "fp32",
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="SIZES",
            help="Batch sizes to be fast at, for example 1,8,32; the last is the largest. Default: 1,4,16.",
        ),
    ] = None,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="IMAGE",
            help="Pictures, or folders of them, to check --precision fp16 by; a dozen will do.",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            min=1, help="Hand out only the best K anchors of each picture, as most need not be read."
        ),
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(min=1, metavar="MIB", help="Most memory that one layer may use.")
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep TensorRT's measurements there: the next build is quicker."),
    ] = None,
    level: Annotated[
        int | None, typer.Option(min=0, max=5, help="0 builds fast, 5 runs fast (TensorRT's default: 3).")
    ] = None,
    tf32: Annotated[
        bool,
        typer.Option("--tf32/--no-tf32", help="Whether float32 may be multiplied less exactly, but faster."),
    ] = True,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.so", help="A library of TensorRT plugins; may be repeated."),
    ] = None,
    gpu: Annotated[int, typer.Option(min=0, help="Number of the GPU to build on and for.")] = 0,
) -> None:
    """Build a TensorRT plan from an ONNX file, for this machine's GPU and no other.

    The plan is served with nothing beside it: labels, family and all that was read off the ONNX file go with it.
    `framewire serve FILE.onnx --device cuda` builds by itself and keeps what it built; this is to do so beforehand, or
    otherwise. It takes seconds to many minutes; Ctrl-C ends it and leaves nothing behind.
    """
    require("server", "models build")
    from framewire_server.engines.tensorrt.builder import BuildOptions
    from framewire_server.errors import OperatorError
    from framewire_server.models.places import locate
    from framewire_server.pipeline.building import Recipe

    target = output
    try:
        target = output or locate(file).with_suffix(".plan")
        if calibrate and precision != "fp16":
            raise OperatorError(
                f"--calibrate: of {precision} nothing is checked by pictures; add --precision fp16, or leave it out"
            )
        recipe = Recipe(
            precision=precision,
            top_k=top_k,
            calibration=_pictures(calibrate or []),
            build=BuildOptions(
                batches=_batches(batch) if batch else (),
                workspace_bytes=workspace * _MIB if workspace else None,
                timing_cache=timing_cache,
                optimisation_level=level,
                tf32=tf32,
                plugins=tuple(plugin or ()),
            ),
        )
        _check(file, target, timing_cache)
        said = _build(file, target, recipe, gpu)
    except OperatorError as error:
        sys.exit(f"framewire: {error}")
    except OSError as error:
        sys.exit(f"framewire: {target}: cannot be written: {error.strerror or error}")
    for line in said:
        typer.echo(line)


def _batches(text: str) -> tuple[int, ...]:
    from framewire_server.errors import OperatorError

    sizes = sorted({int(size) for size in text.split(",") if size.strip().isdecimal()})
    if not sizes or sizes[0] < 1 or len(sizes) != len(text.split(",")):
        raise OperatorError(f"--batch {text}: state sizes from 1, for example 1,8,32")
    return tuple(sizes)


def _pictures(places: list[Path]) -> tuple[Path, ...]:
    from framewire_server.errors import OperatorError

    found: list[Path] = []
    for place in places:
        inside = (
            [path for path in place.iterdir() if path.suffix.lower() in _PICTURES]
            if place.is_dir()
            else [place]
        )
        if not inside:
            raise OperatorError(f"--calibrate {place}: holds no picture ({', '.join(_PICTURES)})")
        found += sorted(inside)
    return tuple(found)


def _check(file: Path, target: Path, timing_cache: Path | None) -> None:
    """Before minutes are spent: raises OperatorError when what is to be written cannot be, or is something else."""
    from framewire_server.errors import OperatorError
    from framewire_server.models.places import locate

    if _same(target, locate(file)):
        raise OperatorError(f"{target}: is the input; name another file with --output")
    _check_writable(target)
    if timing_cache is None:
        return
    said = f"--timing-cache {timing_cache}: is the {{}}; name a file of its own"
    for other, what in ((locate(file), "input"), (target, "output")):
        if _same(timing_cache, other):
            raise OperatorError(said.format(what))
    if timing_cache.suffix.lower() == ".onnx":
        raise OperatorError(said.format("name of a model"))
    _check_writable(timing_cache)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))


def _check_writable(path: Path) -> None:
    from framewire_server.errors import OperatorError

    if path.is_dir():
        raise OperatorError(f"{path}: is a directory; name a file")
    if not path.parent.is_dir():
        raise OperatorError(f"{path.parent}: is no directory")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OperatorError(f"{path}: cannot be written: nothing may be written into {path.parent.resolve()}")


def _build(file: Path, target: Path, recipe: Recipe, gpu: int) -> list[str]:
    """Builds and writes the plan, and returns what to tell. Raises OperatorError, and OSError of the target."""
    from framewire_server.cli.build_bar import BuildBar
    from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
    from framewire_server.models.recognition import read
    from framewire_server.pipeline.building import of_spec, plan_for

    spec, network = read(file)
    recipe = of_spec(recipe, spec, _MOST_BATCH)
    device = PyCudaGpu(gpu)
    began = time.monotonic()
    with BuildBar() as bar:
        plan = _cancellable(lambda: plan_for(spec, network, recipe, device, progress=bar, for_file=True), bar)
    content = plan.file()
    write_whole(target, content)
    batches = ", ".join(map(str, recipe.build.batches))
    return [
        f"{target}: {recipe.precision}, batch {batches}, {len(content) / _MIB:.1f} MiB, "
        f"built in {time.monotonic() - began:.0f} s for {device.name}",
        f"serve it here with: framewire serve {target} --device cuda",
        *_overlooked(target),
    ]


def _overlooked(target: Path) -> list[str]:
    network = target.with_suffix(".onnx")
    return [f"of the folder, {network.name} is served and not this plan"] if network.exists() else []


def _cancellable(work: Callable[[], Plan], bar: BuildBar) -> Plan:
    """Does the work in a thread of its own: TensorRT lets no signal through to the thread that it works on. Ctrl-C
    cancels it and ends the program once it has stopped, a second one at once."""
    done: list[Plan] = []
    failed: list[BaseException] = []
    # Not the thread's join: until Python 3.13 one that Ctrl-C broke takes the thread for ended ever after.
    ended = threading.Event()

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # it is raised where it is waited for
            failed.append(error)
        finally:
            ended.set()

    thread = Daemon(name="build", target=run)
    try:
        thread.start()
        _wait(ended)
    except KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt):  # the thread is left behind, see threads.run_command
            bar.cancel()
            typer.echo("stopping after this step (Ctrl-C again to stop at once)", err=True)
            _wait(ended)
            thread.join()
        sys.exit(_INTERRUPTED)
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def _wait(ended: threading.Event) -> None:
    while not ended.wait(_LOOK_UP_S):  # Ctrl-C just before it waits is heard when it looks up
        pass
