"""A model that hangs while it is loaded or warmed up holds up neither the others nor the end of the server."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from framewire_server.app import Ready, serve
from framewire_server.config import ServerConfig
from framewire_server.core.pipeline import Pipeline
from framewire_server.lifecycle.inventory import Inventory, Sighting
from framewire_server.models import files
from framewire_server.models.finding import Found
from framewire_server.models.repository import Entry
from tests.fakes import versioned_loader
from tests.integration.models_on_disk import (
    Gate,
    Status,
    get_model,
    listed,
    until,
    until_serving,
    watched,
    write,
)


@pytest.fixture(autouse=True)
def short_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framewire_server.lifecycle.loading._JOIN_S", 0.05)


async def test_a_version_that_hangs_while_it_loads_is_refused_and_other_models_go_on(tmp_path: Path) -> None:
    gate, closed = Gate("b"), threading.Event()
    load_any = versioned_loader(gate)

    def load(entry: Entry, config: ServerConfig) -> Pipeline:
        pipeline = load_any(entry, config)
        if entry.path.read_text() == "b":
            pipeline.close = closed.set  # type: ignore[method-assign]
        return pipeline

    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, loader=load, load_timeout_s=0.2) as server:
        write(file, "b")
        assert await asyncio.to_thread(gate.reached.wait, 30)
        write(tmp_path / "pets.onnx", "p")
        await until_serving(server.address, "pets@p")
        street = await get_model(server.address, "street")
        assert (street.version, street.update_failure) == (
            "a",
            f"{file}: it did not load and answer a blank frame within 0.2 s (load_timeout_s)",
        )
        gate.opened.set()
        assert await asyncio.to_thread(closed.wait, 30)  # what came too late is not kept
        assert await listed(server.address) == [("pets", "p"), ("street", "a")]


async def test_so_many_models_hang_and_no_more(tmp_path: Path) -> None:
    opened, begun = threading.Event(), list[str]()

    def loading(version: str) -> None:
        begun.append(version)
        assert version == "a" or opened.wait(30)

    for name in "bcd":
        write(tmp_path / f"{name}.onnx", "a")
    async with watched(tmp_path, loader=versioned_loader(loading), load_timeout_s=0.1) as server:
        for name in "bcd":
            refused = files.version(files.digest(write(tmp_path / f"{name}.onnx", name)))
            await until(server.address, f"{name}@{refused}", Status.NOT_SERVING)
        assert begun == ["a", "a", "a", "b", "c"]
        assert (
            "2 models hang while they are loaded (b, c)"
            in (await get_model(server.address, "d")).update_failure
        )
        opened.set()
        await until_serving(server.address, "d@d")  # tried again when one has come back


def test_a_server_ends_though_a_model_hangs_while_it_loads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate("b")
    file = write(tmp_path / "street.onnx", "a")

    async def run() -> None:
        async with watched(tmp_path, loader=versioned_loader(gate), drain_timeout_s=0.1):
            write(file, "b")
            assert await asyncio.to_thread(gate.reached.wait, 30)

    try:
        asyncio.run(run())  # which waits for the threads of its executor
        assert not gate.opened.is_set()
    finally:
        gate.opened.set()
    assert "model street is still being loaded, and is left to itself" in caplog.messages


def test_a_server_ends_though_its_first_model_hangs_while_it_loads(tmp_path: Path) -> None:
    gate = Gate("a")
    write(tmp_path / "street.onnx", "a")

    def ready(ready: Ready) -> None:
        raise AssertionError("its model is not loaded")

    async def run() -> None:
        stop = asyncio.Event()
        config = ServerConfig(listen="127.0.0.1:0", models_dir=tmp_path)
        server = asyncio.create_task(serve(config, stop, ready, loader=versioned_loader(gate)))
        assert await asyncio.to_thread(gate.reached.wait, 30)
        stop.set()
        await server

    try:
        asyncio.run(run())
        assert not gate.opened.is_set()
    finally:
        gate.opened.set()


async def test_what_is_loaded_when_the_server_stops_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, looking, go_on, closed = (threading.Event() for _ in range(4))
    load_any, sight = versioned_loader(), Inventory.sight

    def load(entry: Entry, config: ServerConfig) -> Pipeline:
        pipeline = load_any(entry, config)
        if entry.path.read_text() == "b":
            pipeline.close = closed.set  # type: ignore[method-assign]
            loaded.set()
        return pipeline

    def slow_sight(self: Inventory, model: Found) -> Sighting:
        if loaded.is_set():
            looking.set()
            assert go_on.wait(30)
        return sight(self, model)

    monkeypatch.setattr(Inventory, "sight", slow_sight)
    file = write(tmp_path / "street.onnx", "a")
    try:
        async with watched(tmp_path, loader=load):
            write(file, "b")
            assert await asyncio.to_thread(looking.wait, 30)
        assert closed.is_set()
    finally:
        go_on.set()
