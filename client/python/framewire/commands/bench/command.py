"""`framewire bench`: the command line."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer
from rich.console import Console

from framewire._errors import FramewireError, MissingExtra
from framewire._types import Encoding
from framewire.commands.bench import conditions, document, mix, plot, quantities, session, table
from framewire.commands.bench.connections import parse_target
from framewire.commands.bench.content import Content
from framewire.commands.bench.outcome import Outcome
from framewire.commands.bench.plan import DEFAULT_SIZE, Plan
from framewire.commands.private_server import means_a_file, private_server

T = TypeVar("T")
_DEFAULT_SERVER = "localhost:50051"
_INTERRUPTED = 130
_CAMERAS, _NETWORK, _RUN, _OUTPUT = "Cameras", "Network", "Run", "Output"
_ENCODINGS = ", ".join(get_args(Encoding))


def _option(name: str, parse: Callable[[str], T], text: str, metavar: str, panel: str) -> Any:
    """An option whose text is parsed by `parse`; what is wrong with it is said as `parse` says it."""

    def parsed(value: object) -> T:
        try:
            return parse(str(value))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return typer.Option(name, parser=parsed, help=text, metavar=metavar, rich_help_panel=panel)


def _positive(parse: Callable[[str], float]) -> Callable[[str], float]:
    def positive(text: str) -> float:
        value = parse(text)
        if value <= 0:
            raise ValueError(f"{text!r} must be more than 0")
        return value

    return positive


def _jitter(text: str) -> float:
    value = quantities.share(text)
    if value > 1:
        raise ValueError(f"{text!r}: a capture may be late by 100% of the period at most")
    return value


def _policy(text: str) -> str:
    if text not in ("latest", "wait"):
        raise ValueError(
            f"{text!r} is not a policy: latest (the newest frame wins) or wait (nothing is dropped)"
        )
    return text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


_time, _rate = quantities.seconds, quantities.bits_per_second


def bench(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="HOST:PORT", help=f"Default {_DEFAULT_SERVER}, unless --model is a file."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="A model of the server by name; a file is served privately for this command.")
    ] = "",
    cameras: Annotated[
        int, typer.Option(min=1, help="How many; with --until, to begin with.", rich_help_panel=_CAMERAS)
    ] = 1,
    fps: Annotated[
        Any, _option("--fps", _positive(_number), "Frames a second of each.", "N", _CAMERAS)
    ] = "5",
    jitter: Annotated[
        Any,
        _option("--jitter", _jitter, "How late captures may be, of the period: 20%.", "SHARE", _CAMERAS),
    ] = "0%",
    sizes: Annotated[
        Any, _option("--sizes", mix.sizes, "With weights: 640x480:3,1280x720.", "WxH[:N],...", _CAMERAS)
    ] = None,
    encoding: Annotated[
        Any,
        _option("--encoding", mix.encodings, f"With weights: {_ENCODINGS}.", "NAME[:N],...", _CAMERAS),
    ] = "jpeg",
    jpeg_quality: Annotated[
        int, typer.Option(min=1, max=100, help="Of pictures encoded here.", rich_help_panel=_CAMERAS)
    ] = 80,
    source: Annotated[
        Path | None,
        typer.Option(
            help="A picture, a folder of them or a video to show; without, pictures are made up.",
            rich_help_panel=_CAMERAS,
        ),
    ] = None,
    policy: Annotated[
        Any,
        _option("--policy", _policy, "The newest frame wins, or every frame waits.", "latest|wait", _CAMERAS),
    ] = "latest",
    max_frame_age: Annotated[
        float | None,
        _option(
            "--max-frame-age", _positive(_time), "Older frames are dropped at their turn.", "TIME", _CAMERAS
        ),
    ] = None,
    link_rate: Annotated[
        float | None,
        _option("--link-rate", _positive(_rate), "Of each camera's link: 5mbit.", "RATE", _NETWORK),
    ] = None,
    link_delay: Annotated[
        Any, _option("--link-delay", _time, "Of each camera's link, one way: 50ms.", "TIME", _NETWORK)
    ] = "0ms",
    share_connections: Annotated[
        bool,
        typer.Option("--share-connections", help="One connection to a server.", rich_help_panel=_NETWORK),
    ] = False,
    duration: Annotated[
        Any, _option("--duration", _positive(_time), "Measured time, of each step.", "TIME", _RUN)
    ] = "30s",
    ramp: Annotated[
        Any, _option("--ramp", _time, "Cameras start spread over this, before the warm-up.", "TIME", _RUN)
    ] = "0s",
    warmup: Annotated[Any, _option("--warmup", _time, "Before the measured time.", "TIME", _RUN)] = "2s",
    seed: Annotated[int, typer.Option(help="Of phases, jitter and pictures.", rich_help_panel=_RUN)] = 0,
    until: Annotated[
        Any,
        _option(
            "--until",
            conditions.parse,
            "Add cameras until this breaks: 'p99_age<300ms,drops<1%'.",
            "CONDITIONS",
            _RUN,
        ),
    ] = None,
    max_cameras: Annotated[
        int, typer.Option(min=1, help="Most to try with --until.", rich_help_panel=_RUN)
    ] = 1024,
    json: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Write all figures as JSON.", rich_help_panel=_OUTPUT),
    ] = None,
    plot_file: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw ages over time, with --until over cameras (.png, .svg, .pdf).",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
) -> None:
    """Measure how many cameras a server carries, and how old its results are.

    framewire bench gpu:50051 --cameras 16 --fps 10 --plot ages.png

    framewire bench --model yolov8n.onnx --until 'p99_age<300ms,drops<1%'

    Ends with status 1 when frames failed or no camera is carried, 2 when called wrongly, 130 when interrupted.
    """
    console = Console(stderr=json == "-", highlight=False, soft_wrap=True, markup=False)
    plan = Plan(
        targets=_targets(targets, model),
        model=model,
        fps=fps,
        jitter=jitter,
        kinds=_kinds(sizes, encoding, source),
        policy=policy,
        max_frame_age_s=max_frame_age,
        duration_s=duration,
        ramp_s=ramp,
        warmup_s=warmup,
        seed=seed,
        link_rate_bps=link_rate,
        link_delay_s=link_delay,
        share_connections=share_connections,
    )
    if cameras > max_cameras:
        raise typer.BadParameter(f"--cameras {cameras} is more than --max-cameras {max_cameras}")
    try:
        _check(json, plot_file)
        content = Content(source, jpeg_quality=jpeg_quality, seed=seed)
        with _served(plan) as plan:
            outcome = asyncio.run(
                session.run(plan, content, until or (), cameras=cameras, most=max_cameras, console=console)
            )
        _write(outcome, plan, json, plot_file, console)
    except (FramewireError, OSError) as error:
        sys.exit(f"framewire: {error}")
    raise typer.Exit(_status(outcome))


def _targets(targets: list[str] | None, model: str) -> tuple[str, ...]:
    """Where servers are; none when the model is a file that is served privately."""
    if means_a_file(model):
        if targets:
            raise typer.BadParameter("give either HOST:PORT, or a model file to serve privately")
        return ()
    try:
        return tuple(str(parse_target(target)) for target in targets or [_DEFAULT_SERVER])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _kinds(
    sizes: Sequence[mix.Share[mix.Size]] | None,
    encodings: Sequence[mix.Share[Encoding]],
    source: Path | None,
) -> Sequence[mix.Share[mix.Kind]]:
    if sizes is None and source is None:
        sizes = (mix.Share(DEFAULT_SIZE, 1.0),)
    try:
        return mix.kinds(sizes, encodings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _check(json: str | None, plot_file: Path | None) -> None:
    """What would be a pity to find out after the run. Raises FramewireError, or OSError."""
    if any(importlib.util.find_spec(name) is None for name in ("numpy", "cv2")):
        raise MissingExtra("framewire bench", "bench")
    if plot_file:
        plot.check(plot_file)
    for file in (plot_file, Path(json) if json and json != "-" else None):
        if file and file.is_dir():
            raise FramewireError(f"{file} is a folder; name a file to write")


@contextlib.contextmanager
def _served(plan: Plan) -> Iterator[Plan]:
    """Yields the plan with a server to go to: a private one when it names none."""
    if plan.targets:
        yield plan
        return
    with private_server(Path(plan.model)) as address:
        yield dataclasses.replace(plan, targets=(address,), model="")


def _write(outcome: Outcome, plan: Plan, json: str | None, plot_file: Path | None, console: Console) -> None:
    if not outcome.steps:
        return
    if json:
        document.write(json, document.document(plan, outcome))
    if plot_file:
        count = None if outcome.conditions else outcome.steps[-1].figures.cameras
        plot.write(plot_file, outcome, table.described(plan, count))
    written = [str(file) for file in (json if json != "-" else None, plot_file) if file]
    if written:
        console.print("wrote " + ", ".join(written))


def _status(outcome: Outcome) -> int:
    if outcome.interrupted:
        return _INTERRUPTED
    if outcome.conditions:
        return 0 if outcome.capacity and outcome.capacity.carried else 1
    return 1 if outcome.steps[-1].figures.failed else 0
