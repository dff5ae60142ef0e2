"""`framewire serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from framewire_server.cli.extras import require

if TYPE_CHECKING:
    from framewire_server.app import Ready
    from framewire_server.config import ServerConfig

log = logging.getLogger(__name__)
_INTERRUPTED = 130
_GPU = "On a GPU"
_TELLERS = (
    "models.decoding.latch",
    "lifecycle.versions",
    "lifecycle.loading",
    "engines.tensorrt.progress",
)


def serve(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL]...", help="ONNX files, plans, or folders of one; the first is the default."
        ),
    ] = None,
    models_dir: Annotated[
        Path | None, typer.Option("--models", metavar="DIR", help="Serve every model in a folder.")
    ] = None,
    no_watch: Annotated[
        bool,
        typer.Option("--no-watch", help="Leave it at the models that are in DIR at the start."),
    ] = False,
    admin: Annotated[
        bool | None, typer.Option("--admin", help="Let every client load and unload models.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Default 127.0.0.1:50051; 0.0.0.0:50051 for other machines, too."
        ),
    ] = None,
    max_batch: Annotated[
        int | None, typer.Option(help="Most frames in one batch (default: 1, fastest on a CPU; 16 on a GPU).")
    ] = None,
    lanes: Annotated[int | None, typer.Option(help="Batches inferred at the same time.")] = None,
    threads_per_lane: Annotated[
        int | None, typer.Option(help="Threads of ONNX Runtime for one batch.")
    ] = None,
    window: Annotated[int | None, typer.Option(help="Frames of one stream that may be unanswered.")] = None,
    max_frame_bytes: Annotated[int | None, typer.Option(help="Most bytes of one frame.")] = None,
    max_frame_pixels: Annotated[int | None, typer.Option(help="Most pixels of one frame.")] = None,
    max_streams: Annotated[int | None, typer.Option(help="Streams that may be open.")] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu (default), cuda (the first GPU), or GPUs by number: cuda:0,1.", rich_help_panel=_GPU
        ),
    ] = None,
    gpu_lanes: Annotated[
        int | None,
        typer.Option(help="Batches at the same time on each GPU (default: 2).", rich_help_panel=_GPU),
    ] = None,
    prepare_workers: Annotated[
        int | None,
        typer.Option(
            help="Threads that decode pictures for GPUs (default: one a core, 8 at most).",
            rich_help_panel=_GPU,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="fp32|fp16|bf16|int8",
            help="Of plans built from ONNX files (default: fp32).",
            rich_help_panel=_GPU,
        ),
    ] = None,
    workspace: Annotated[
        int | None,
        typer.Option(
            metavar="MIB",
            help="Most memory that one layer of plans built here may use (default: a share of what is left).",
            rich_help_panel=_GPU,
        ),
    ] = None,
    plugins: Annotated[
        list[Path] | None,
        typer.Option(
            "--plugin",
            metavar="LIBRARY",
            help="A library of TensorRT plugins to load first; may be repeated.",
            rich_help_panel=_GPU,
        ),
    ] = None,
    plan_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where plans built from ONNX files are kept (default: ~/.cache/framewire/plans).",
            rich_help_panel=_GPU,
        ),
    ] = None,
    no_cuda_graphs: Annotated[
        bool,
        typer.Option("--no-cuda-graphs", help="Never replay batches as CUDA graphs.", rich_help_panel=_GPU),
    ] = False,
    prepare_on: Annotated[
        str | None,
        typer.Option(
            metavar="host|gpu",
            help="Where decoded pictures are resized (default: host).",
            rich_help_panel=_GPU,
        ),
    ] = None,
    gpu_decode: Annotated[
        bool | None,
        typer.Option(
            "--gpu-decode", help="Decode JPEGs on the GPU, and resize them there.", rich_help_panel=_GPU
        ),
    ] = None,
    max_stream_age: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Ask streams to move after about this long (default: never)."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weight",
            metavar="NETWORK=WEIGHT",
            help="Frames that clients get for each one of others, for example 10.0.1.0/24=3; may be repeated.",
        ),
    ] = None,
    drain_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long to go on answering after Ctrl-C.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every stream.")] = False,
    until_stdin_closes: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Serve detectors over gRPC.

    A model is an ONNX file as its exporter wrote it: its family is recognised and its boxes are decoded, with
    no code. `framewire models inspect FILE` shows how. Labels come from the file itself or from labels.txt
    beside it; what cannot be read off a file is stated in NAME.yaml beside it.

    What changes in the folder given by --models is loaded while the server runs; on network file systems that
    tell of no changes, set FRAMEWIRE_WATCH=poll.

    With --device cuda models run on a GPU, in TensorRT: a plan is built from an ONNX file at its first time, which
    takes minutes, and kept. Plans (.engine, .plan) are served as they are. `framewire doctor` tells what is missing.

    Settings are environment variables, too, for example FRAMEWIRE_LISTEN=0.0.0.0:50051.
    """
    require("server", "serve")
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from framewire_server.cli.settings import explain, overlooked
    from framewire_server.config import ServerConfig
    from framewire_server.errors import OperatorError

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    # What frames decide about a model and which models change is said once, whether or not streams are logged.
    for teller in _TELLERS:
        logging.getLogger(f"framewire_server.{teller}").setLevel(logging.INFO)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    flags: dict[str, Any] = {
        "models": tuple(models) if models else None,
        "models_dir": models_dir,
        "watch": "off" if no_watch else None,
        "admin": admin,
        "listen": listen,
        "max_batch": max_batch,
        "lanes": lanes,
        "threads_per_lane": threads_per_lane,
        "device": device,
        "gpu_lanes": gpu_lanes,
        "prepare_workers": prepare_workers,
        "precision": precision,
        "build_workspace_mib": workspace,
        "plugins": tuple(plugins) if plugins else None,
        "plan_cache": plan_cache,
        "cuda_graphs": False if no_cuda_graphs else None,
        "prepare_on": prepare_on,
        "gpu_decode": gpu_decode,
        "window": window,
        "max_frame_bytes": max_frame_bytes,
        "max_frame_pixels": max_frame_pixels,
        "max_streams": max_streams,
        "max_stream_age_s": max_stream_age,
        "identity_weights": _weights(weights) if weights else None,
        "drain_timeout_s": drain_timeout,
    }
    stated = {key: value for key, value in flags.items() if value is not None}
    try:
        config = ServerConfig(**stated)
        for sentence in overlooked(config, stated, os.environ):
            log.warning(sentence)
        asyncio.run(_run(config, until_stdin_closes))
    except (ValidationError, SettingsError) as error:
        sys.exit(f"framewire: {explain(error, stated)}")
    except OperatorError as error:
        sys.exit(f"framewire: {error}")


def _weights(texts: list[str]) -> dict[str, str]:
    """Splits NETWORK=WEIGHT; the configuration checks both."""
    pairs = [text.rpartition("=")[::2] for text in texts]
    for text, (network, _) in zip(texts, pairs, strict=True):
        if not network:
            sys.exit(f"framewire: --weight {text}: state NETWORK=WEIGHT, for example 10.0.1.0/24=3")
    if len(dict(pairs)) < len(pairs):
        sys.exit("framewire: --weight: a network is stated twice")
    return dict(pairs)


async def _run(config: ServerConfig, until_stdin_closes: bool) -> None:
    from framewire_server.app import serve as run

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop, stop)
    if until_stdin_closes:
        threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True).start()
    await run(config, stop, _print_ready)


def _stop(stop: asyncio.Event) -> None:
    if stop.is_set():  # asked twice: at once
        os._exit(_INTERRUPTED)
    stop.set()  # first: nobody may be left to read what is said
    typer.echo("stopping: answering what was sent (Ctrl-C again to stop at once)", err=True)


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """A server that another program started ends with it, however that ends."""
    while os.read(sys.stdin.fileno(), 1024):  # unbuffered: a buffer's lock would be held at exit
        pass
    loop.call_soon_threadsafe(stop.set)


def _print_ready(ready: Ready) -> None:
    from framewire_server.process import settle

    settle()
    if ready.gpus:
        typer.echo(f"models run on {', '.join(ready.gpus)}")
    for entry in ready.models:
        if entry.spec is None:
            typer.echo(f"model {entry.name}: FAILED: {entry.failure}")
            continue
        spec = entry.spec
        typer.echo(
            f"model {spec.name}: {spec.family}, {spec.input_width}x{spec.input_height}, {_labels(len(spec.labels))}, "
            f"{spec.preprocessing}, batch {entry.max_batch}, version {spec.version}"
        )
        for warning in spec.warnings:
            typer.echo(f"  note: {warning}")
        for doubt in spec.doubts:
            typer.echo(f"  in doubt: {doubt}")
    # The last line, since other programs wait for it.
    typer.echo(f"listening on {ready.address}")
    sys.stdout.flush()


def _labels(count: int) -> str:
    return f"{count or 'no'} label{'s' * (count != 1)}"
