"""Settings of devices: what they are by default, and what is said of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from framewire_server import config
from framewire_server.config import ServerConfig


@pytest.mark.parametrize(
    ("device", "gpus"),
    [("cpu", ()), ("cuda", (0,)), ("cuda:1", (1,)), ("cuda:0,2", (0, 2)), ("cuda:3,1", (3, 1))],
)
def test_devices_name_gpus_by_their_numbers(device: str, gpus: tuple[int, ...]) -> None:
    assert ServerConfig(device=device).gpus == gpus


@pytest.mark.parametrize(
    "device", ["cuda:x", "cuda:", "cuda:0,", "cuda:-1", "cuda0", "gpu", "CUDA", "", "cpu:0", "cuda:1000"]
)
def test_a_device_that_is_none_is_refused_with_an_example(device: str) -> None:
    with pytest.raises(
        ValidationError, match=r"is not cpu, cuda, or GPUs by their numbers, for example cuda:0,1"
    ):
        ServerConfig(device=device)


@pytest.mark.parametrize("device", ["cuda:0,0", "cuda:1,01"])
def test_a_gpu_is_named_once(device: str) -> None:
    with pytest.raises(ValidationError, match="names a GPU twice"):
        ServerConfig(device=device)


def test_a_gpu_has_larger_batches_and_more_time_to_load_unless_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (ServerConfig().max_batch, ServerConfig().load_timeout_s) == (1, 600)
    on_gpu = ServerConfig(device="cuda")
    assert (on_gpu.max_batch, on_gpu.load_timeout_s) == (16, 3600)
    assert ServerConfig(device="cuda", max_batch=3).max_batch == 3
    monkeypatch.setenv("FRAMEWIRE_DEVICE", "cuda:1")
    assert ServerConfig().max_batch == 16
    monkeypatch.setenv("FRAMEWIRE_MAX_BATCH", "5")
    assert ServerConfig().max_batch == 5
    assert ServerConfig(device="cpu").max_batch == 5


def test_plugins_must_be_there(tmp_path: Path) -> None:
    library = tmp_path / "libyolo_layer.so"
    with pytest.raises(
        ValidationError, match=r"libyolo_layer.so: no such file; name libraries of TensorRT plugins"
    ):
        ServerConfig(plugins=(library,))
    with pytest.raises(ValidationError, match="is a directory; name the library in it"):
        ServerConfig(plugins=(tmp_path,))
    library.touch()
    assert ServerConfig(plugins=(library,)).plugins == (library,)


def test_plans_are_kept_where_caches_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ServerConfig().plan_cache == tmp_path / "framewire/plans"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ServerConfig().plan_cache == tmp_path / ".cache/framewire/plans"


def test_an_empty_variable_does_not_put_plans_into_the_working_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FRAMEWIRE_PLAN_CACHE", "")
    with pytest.raises(ValidationError, match="it is empty; name a folder, or take it out"):
        ServerConfig()


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (8, 8), (64, 8)])
def test_many_cores_do_not_make_more_prepare_workers_than_help(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr(config, "_cores", lambda: cores)
    assert ServerConfig().prepare_workers == workers
