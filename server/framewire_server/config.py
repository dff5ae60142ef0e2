"""The server's settings. A flag goes before an environment variable FRAMEWIRE_NAME, that before the default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from framewire_server.weights import Weights

_MIB = 1 << 20


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    """Seconds that a model may take to load and to answer a blank frame; then it is refused. 0 for never."""

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
    """Most frames in one batch of a model with a dynamic batch axis. On a CPU a batch is slower per frame."""

    batch_wait_ms: float = Field(0.0, ge=0, le=1000)
    """Longest that a batch waits for company, from its first frame. 0 never waits, and still batches when busy."""

    lanes: int = Field(default_factory=lambda: min(_cores(), 4), ge=1, le=256)
    """Batches inferred at the same time."""

    threads_per_lane: int = Field(default_factory=lambda: max(_cores() // min(_cores(), 4), 1), ge=1)
    """Threads that ONNX Runtime uses for one batch."""

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
