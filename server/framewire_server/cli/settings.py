"""What is wrong with settings, and which of them are overlooked, by the names under which they were stated."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_settings import SettingsError

if TYPE_CHECKING:
    from framewire_server.config import ServerConfig

_PREFIX = "FRAMEWIRE_"
_FLAGS = {
    "models": "MODEL",
    "models_dir": "--models",
    "watch": "--no-watch",
    "build_workspace_mib": "--workspace",
    "plugins": "--plugin",
    "cuda_graphs": "--no-cuda-graphs",
    "max_stream_age_s": "--max-stream-age",
    "identity_weights": "--weight",
    "drain_timeout_s": "--drain-timeout",
}
"""Flags of `framewire serve` that are not called as their settings are."""
_OF_GPUS = (
    "gpu_lanes", "prepare_workers", "precision", "build_workspace_mib", "plugins", "plan_cache", "cuda_graphs",
    "prepare_on", "gpu_decode",
)  # fmt: skip
_ALIKE = 0.75


def explain(error: ValidationError | SettingsError, flags: Collection[str] = ()) -> str:
    """Returns what ServerConfig refused, in one line. `flags` are the settings that were stated by flags; the others
    came from the environment."""
    if isinstance(error, SettingsError):
        return f'{error}: several values are JSON, for example ["a.onnx", "b.onnx"] or {{"10.0.1.0/24": 3}}'
    return "; ".join(
        f"{_as_stated(str(item['loc'][0]), flags)}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors()
    )


def overlooked(config: ServerConfig, flags: Collection[str], variables: Iterable[str]) -> Iterator[str]:
    """A sentence on each setting that was stated and changes nothing. `variables` are the environment's names."""
    for name in _OF_GPUS:
        stated = name in config.model_fields_set
        # The folder alone is often set for a whole machine or image, whatever runs there.
        if stated and not config.gpus and (name != "plan_cache" or name in flags):
            yield f"{_as_stated(name, flags)} changes nothing on the CPU; models run on a GPU with --device cuda"
    known = type(config).model_fields
    for variable in variables:
        name = variable.upper().removeprefix(_PREFIX).lower()
        # What is like no setting is another program's: Kubernetes names services so.
        if variable.upper().startswith(_PREFIX) and name not in known:
            for meant in difflib.get_close_matches(name, known, 1, _ALIKE):
                yield f"{variable} is not read; is it {_PREFIX}{meant.upper()}?"


def _as_stated(name: str, flags: Collection[str]) -> str:
    if name in flags:
        return _FLAGS.get(name, "--" + name.replace("_", "-"))
    return _PREFIX + name.upper()
