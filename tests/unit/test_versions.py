"""What clients are told of a loaded version that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from framewire_server.config import ServerConfig
from framewire_server.core.device import Device
from framewire_server.core.inline import InlineDevice
from framewire_server.core.pipeline import Pipeline
from framewire_server.core.scheduler import Scheduler
from framewire_server.errors import ModelError, NotNow
from framewire_server.lifecycle.loading import Loader
from framewire_server.lifecycle.versions import Versions
from framewire_server.models.repository import Entry, ModelState, Repository
from tests.fakes import fake_loader, versioned_loader


class Full(InlineDevice):
    """A device that has no room for more when it is told so. Notes which keys are unbound."""

    def __init__(self) -> None:
        super().__init__("cpu", Scheduler(lambda outcomes: None), lambda outcomes: None, lanes=1)
        self.full = False
        self.unbound: list[Hashable] = []

    def bind(self, key: Hashable, pipeline: Pipeline) -> None:
        if self.full:
            raise MemoryError("no room for its rows")
        super().bind(key, pipeline)

    def unbind(self, key: Hashable) -> None:
        self.unbound.append(key)
        super().unbind(key)


class Told:
    """A Health that remembers."""

    def __init__(self) -> None:
        self.serving: dict[str, bool] = {}

    async def tell(self, name: str, *, serving: bool) -> None:
        self.serving[name] = serving

    async def forget(self, name: str) -> None:
        self.serving.pop(name, None)


def made(
    folder: Path, device: Device | None = None, loader: Loader | None = None
) -> tuple[Versions, Told, Repository]:
    config = ServerConfig(models_dir=folder, admin=True)
    health, repository = Told(), Repository((), folder, may_be_empty=True)
    return Versions(config, repository, device or Full(), loader or fake_loader(), health), health, repository


async def test_a_version_in_trouble_is_told_until_it_answers_again(tmp_path: Path) -> None:
    versions, health, _ = made(tmp_path)
    entry = Entry("street", tmp_path / "street.onnx")
    pipeline = await versions.load(entry, 0)
    await versions.swap(entry, pipeline)
    assert health.serving == {"street": True, "street@v1": True}
    versions.troubled(pipeline, "its lane hangs")
    await asyncio.sleep(0)
    assert health.serving == {"street": False, "street@v1": False}
    assert (entry.state, entry.failure) == (ModelState.FAILED, "its lane hangs")
    versions.troubled(pipeline, None)
    await asyncio.sleep(0)
    assert health.serving == {"street": True, "street@v1": True}
    assert (entry.state, entry.failure) == (ModelState.READY, "")
    await versions.close()


async def test_a_version_that_the_device_has_no_room_for_is_closed_and_takes_no_key_away(
    tmp_path: Path,
) -> None:
    device = Full()
    versions, _, _ = made(tmp_path, device)
    same, new = (Entry("street", tmp_path / "street.onnx") for _ in range(2))
    await versions.swap(same, await versions.load(same, 0))
    pipeline = await versions.load(new, 0)
    device.full = True
    with pytest.raises(ModelError, match="no room for its rows"):
        await versions.swap(new, pipeline)
    assert cast(Any, pipeline)._engine.closed
    assert not versions.has(new)
    assert device.unbound == []  # the key is that of the version which goes on
    await versions.close()


async def test_a_former_version_that_fails_still_fails_when_it_comes_back(tmp_path: Path) -> None:
    versions, health, repository = made(tmp_path, loader=versioned_loader())
    for version in ("v1", "v2"):
        (tmp_path / version).write_text(version)
    first = Entry("street", tmp_path / "v1", digest="first")
    pipeline = await versions.load(first, 0)
    await versions.swap(first, pipeline)
    use = repository.use("street@v1", cast(Any, SimpleNamespace()))
    second = Entry("street", tmp_path / "v2")
    await versions.swap(second, await versions.load(second, 0))
    versions.troubled(pipeline, "its lane hangs")
    assert health.serving == {"street": True, "street@v1": True, "street@v2": True}
    await asyncio.sleep(0)
    assert health.serving == {"street": True, "street@v1": False, "street@v2": True}
    former = versions.former("street", "first")
    assert former == (first, pipeline)
    await versions.swap(*former)
    assert (first.state, first.failure) == (ModelState.FAILED, "its lane hangs")
    assert not health.serving["street"] and not health.serving["street@v1"]
    use.end()
    await versions.close()


async def test_a_version_stated_by_one_that_is_on_its_way_out_is_refused_until_that_has_gone(
    tmp_path: Path,
) -> None:
    versions, _, repository = made(tmp_path)
    freed: list[bool] = []
    versions.freed = lambda: freed.append(True)
    first, second = (Entry("street", tmp_path / "street.onnx", digest=digest) for digest in "ab")
    await versions.swap(first, await versions.load(first, 0))
    with pytest.raises(ModelError) as stays:
        await versions.load(second, 0)
    assert not isinstance(stays.value, NotNow)
    use = repository.use("street", cast(Any, SimpleNamespace(drain=lambda: None)))
    removal = versions.remove("street", "its file is gone")
    await asyncio.sleep(0)
    with pytest.raises(NotNow, match="states version 'v1'"):
        await versions.load(second, 0)
    assert not freed
    use.end()
    await removal
    assert freed
    await versions.swap(second, await versions.load(second, 0))
    await versions.close()
