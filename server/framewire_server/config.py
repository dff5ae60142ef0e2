"""The server's settings. A flag goes before an environment variable FRAMEWIRE_NAME, that before the default."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from framewire_server.weights import Weights

_MIB = 1 << 20
_DEVICE = re.compile(r"cpu|cuda|cuda:\d{1,3}(,\d{1,3})*")
_ON_GPUS = {"max_batch": 16, "load_timeout_s": 3600.0}
"""Defaults that are others on a GPU: it is made for batches, and may have to build a plan first."""


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _plan_cache() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path("~/.cache").expanduser()) / "framewire" / "plans"


class ServerConfig(BaseSettings):
    """Checked once at start, then frozen."""

    model_config = SettingsConfigDict(env_prefix="FRAMEWIRE_", frozen=True, extra="forbid")

    listen: str = "127.0.0.1:50051"
    """HOST:PORT. Only this machine by default: there is no authentication yet. Port 0 takes a free one."""

    models: tuple[Path, ...] = ()
    """Model files; the first one is the default model."""

    models_dir: Path | None = None
    """A folder whose models are all served."""

    watch: Literal["notify", "poll", "off"] = "notify"
    """How changes in `models_dir` are noticed; `poll` where a network file system tells nothing."""

    watch_settle_s: float = Field(1.0, gt=0, le=3600)
    """Seconds that a model's files must stay as they are before they are loaded: longer than a copy ever pauses."""

    max_old_versions: int = Field(4, ge=0, le=64)
    """Former versions of one model that are kept for streams that asked for them; more refuse the new version."""

    load_timeout_s: float = Field(600.0, ge=0, le=86_400)
    """Seconds that a model may take to load and to answer a blank frame; then it is refused. 0 for never. 3600 by
    default on a GPU, where a plan may have to be built."""

    admin: bool = False
    """Whether any client may load and unload models; the server then starts without any, too."""

    window: int = Field(16, ge=1, le=1024)
    """Frames of one stream that may be unanswered. More hides longer round trips and lets frames get older."""

    max_streams: int = Field(4096, ge=1)
    """Streams that may be open."""

    max_streams_per_identity: int = Field(2048, ge=1)
    """Streams of one client (of one address) that may be open."""

    idle_timeout_s: float = Field(600.0, ge=0)
    """Seconds after which a stream ends on which nothing was sent; 0 for never. The SDK opens it again silently."""

    slow_reader_timeout_s: float = Field(60.0, ge=0)
    """Seconds after which a stream ends whose client does not read its results; 0 for never."""

    max_stream_age_s: float = Field(0.0, ge=0)
    """Seconds, a fifth more or less, after which a stream is asked to move, so that a server that came back fills
    again; 0 for never."""

    max_frame_bytes: int = Field(16 * _MIB, ge=1024, le=1 << 30)
    """Most bytes of one frame's content; a raw 1080p picture has 6 MiB."""

    max_frame_pixels: int = Field(64 * 1000 * 1000, ge=1)
    """Most pixels of one frame, checked before it is decoded; 8K has 33 million."""

    max_queued_bytes: int = Field(1024 * _MIB, ge=_MIB)
    """Most bytes of frames that the whole server holds; beyond, frames are dropped as overloaded."""

    max_waiting_pictures: int = Field(64, ge=1)
    """Pictures of one client's DetectImage calls that may wait at one model; more end as overloaded."""

    max_batch: int = Field(1, ge=1, le=256)
    """Most frames in one batch of a model with a dynamic batch axis. On a CPU a batch is slower per frame; on a GPU
    the default is 16."""

    batch_wait_ms: float = Field(0.0, ge=0, le=1000)
    """Longest that a batch waits for company, from its first frame. 0 never waits, and still batches when busy."""

    lanes: int = Field(default_factory=lambda: min(_cores(), 4), ge=1, le=256)
    """Batches inferred at the same time."""

    threads_per_lane: int = Field(default_factory=lambda: max(_cores() // min(_cores(), 4), 1), ge=1)
    """Threads that ONNX Runtime uses for one batch."""

    device: str = "cpu"
    """Where models run: cpu, cuda (the first GPU), or cuda:0,2 (these GPUs)."""

    gpu_lanes: int = Field(2, ge=1, le=64)
    """Batches at the same time on each GPU: while one computes, another one is copied or its boxes are decoded."""

    prepare_workers: int = Field(default_factory=lambda: min(_cores(), 8), ge=1, le=256)
    """Threads that decode and resize pictures for GPUs, all together; each GPU has one at least. More than eight get in
    each other's way: on 16 cores, 16 of them answered a fifth fewer frames of 640×480 than 8
    (docs/gpu.md, "What has run on hardware")."""

    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    """Of plans that are built from ONNX files; fp32 uses TF32 where the GPU has it."""

    build_workspace_mib: int | None = Field(None, ge=1)
    """Most memory of the GPU that one layer may use, while a plan is built and later on every lane. By default what is
    left when it is built, divided by one more than the lanes."""

    plugins: tuple[Path, ...] = ()
    """Libraries with TensorRT plugins, loaded before any plan."""

    plan_cache: Path = Field(default_factory=_plan_cache)
    """The folder for plans that were built from ONNX files."""

    cuda_graphs: bool = True
    """Whether batches are replayed as CUDA graphs where that can be done (needs the extra `graphs`)."""

    prepare_on: Literal["host", "gpu"] = "host"
    """Where decoded pictures are resized and laid out for models on a GPU."""

    gpu_decode: bool = False
    """Whether JPEGs are decoded on the GPU (needs the extra `gpu-decode`); then they are resized there, too."""

    batch_timeout_s: float = Field(30.0, ge=0, le=86_400)
    """Seconds after which a batch counts as hung: its frames end as failed and another lane takes over. 0 for never."""

    identity_weights: dict[str, float] = Field(default_factory=dict)
    """How many frames clients get for each one of others, when a model is short: an address, a network or "unix:" to
    a weight, 1 where nothing is stated. Of several networks the smallest counts."""

    drain_delay_s: float = Field(0.0, ge=0)
    """Seconds that a stopping server goes on at least, so that balancers notice that it refuses new streams."""

    drain_timeout_s: float = Field(10.0, ge=0)
    """Seconds that a stopping server goes on at most to answer what was sent."""

    reflection: bool = True
    """Whether tools may ask the server for its services."""

    @property
    def gpus(self) -> tuple[int, ...]:
        """CUDA's numbers of the GPUs that models run on; none when they run on the CPU."""
        kind, _, numbers = self.device.partition(":")
        return () if kind == "cpu" else tuple(int(number) for number in (numbers or "0").split(","))

    @model_validator(mode="before")
    @classmethod
    def _choose_defaults(cls, stated: dict[str, Any]) -> dict[str, Any]:
        return (_ON_GPUS if str(stated.get("device", "")).startswith("cuda") else {}) | stated

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        if not _DEVICE.fullmatch(value):
            raise ValueError(f"{value!r} is not cpu, cuda, or GPUs by their numbers, for example cuda:0,1")
        numbers = value.partition(":")[2].split(",")
        if len({int(number) for number in numbers if number}) < len(numbers) > 1:
            raise ValueError(f"{value!r} names a GPU twice")
        return value

    @field_validator("plan_cache", mode="before")
    @classmethod
    def _check_plan_cache(cls, value: Any) -> Any:
        if value == "":  # which would be the working directory
            raise ValueError("it is empty; name a folder, or take it out for ~/.cache/framewire/plans")
        return value

    @field_validator("plugins")
    @classmethod
    def _check_plugins(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        for path in value:
            if path.is_dir():
                raise ValueError(f"{path}: is a directory; name the library in it (.so)")
            if not path.is_file():
                raise ValueError(f"{path}: no such file; name libraries of TensorRT plugins (.so)")
        return value

    @field_validator("identity_weights")
    @classmethod
    def _check_identity_weights(cls, value: dict[str, float]) -> dict[str, float]:
        Weights(value)
        return value

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not (colon and host and port.isdecimal() and int(port) < 65536):
            raise ValueError(f"{value!r} is not HOST:PORT, for example 0.0.0.0:50051 or [::1]:50051")
        return value
