"""A model is exchanged while streams use it."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from framewire.v1 import detection_pb2 as pb
from framewire.v1 import model_pb2
from framewire_server.models import files
from tests.fakes import LABELS, versioned_loader
from tests.integration.models_on_disk import (
    SETTLE_S,
    Gate,
    Status,
    get_model,
    listed,
    until,
    until_gone,
    until_serving,
    watched,
    write,
)
from tests.wire import config, raw, refused, rest, stub, talk


async def opened(service: Any, **fields: Any) -> tuple[Any, pb.StreamStarted]:
    call = service.Detect()
    await call.write(config(**fields))
    return call, (await call.read()).started


async def answer(call: Any, frame_id: int) -> list[pb.DetectResponse]:
    """Sends a frame; returns its result, after what came before it."""
    await call.write(raw(frame_id))
    responses = [await call.read()]
    while responses[-1].WhichOneof("payload") != "result":
        responses.append(await call.read())
    return responses


async def test_a_stream_goes_on_with_the_new_version_and_is_told_before_its_first_result(
    tmp_path: Path,
) -> None:
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path) as server, stub(server.address) as service:
        call, started = await opened(service)
        assert (started.model, started.model_version) == ("street", "a")
        (first,) = await answer(call, 1)
        assert first.result.model_version == "a"
        write(file, "b")
        await until_serving(server.address, "street@b")
        changed, second = await answer(call, 2)
        assert changed.model_changed.model_version == "b"
        assert tuple(changed.model_changed.labels) == (*LABELS, "b")
        assert (changed.model_changed.input_width, changed.model_changed.input_height) == (64, 48)
        assert changed.model_changed.effective_options.max_detections == 300
        assert second.result.model_version == "b" and second.result.HasField("detections")
        (third,) = await answer(call, 3)
        assert third.result.model_version == "b"
        await until_gone(server.address, "street@a")
        assert await listed(server.address) == [("street", "b")]
        await call.done_writing()
        assert await rest(call) == []


async def test_swaps_under_load_lose_nothing_and_versions_never_go_back(tmp_path: Path) -> None:
    versions = [f"v{n:02}" for n in range(8)]
    file = write(tmp_path / "street.onnx", versions[0])
    async with watched(tmp_path, lanes=3) as server, stub(server.address) as service:
        done = asyncio.Event()

        async def stream() -> tuple[int, list[pb.DetectResponse]]:
            call, _ = await opened(service)
            responses: list[pb.DetectResponse] = []

            async def read() -> None:
                responses.extend(await rest(call))

            reading = asyncio.create_task(read())
            sent = 0
            while not done.is_set():
                sent += 1
                await call.write(raw(sent))
            await call.done_writing()
            await reading
            return sent, responses

        streams = [asyncio.create_task(stream()) for _ in range(3)]
        for version in versions[1:]:
            write(file, version)
            await until_serving(server.address, f"street@{version}")
        done.set()
        for sent, responses in await asyncio.gather(*streams):
            check_versions(responses, versions)
            results = [r.result for r in responses if r.WhichOneof("payload") == "result"]
            assert [result.frame_id for result in results] == list(range(1, sent + 1))
            assert all(result.HasField("detections") for result in results)


def check_versions(responses: list[pb.DetectResponse], versions: list[str]) -> None:
    """Versions only go on, and each change is told once, before the first result of the new one."""
    told = [versions[0]]
    for response in responses:
        if response.WhichOneof("payload") == "model_changed":
            told.append(response.model_changed.model_version)
        else:
            assert response.result.model_version == told[-1]
    assert told == sorted(set(told))


async def test_a_pinned_stream_keeps_its_version_while_others_change(tmp_path: Path) -> None:
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path) as server, stub(server.address) as service:
        pinned, started = await opened(service, model="street@a")
        assert (started.model, started.model_version) == ("street", "a")
        write(file, "b")
        await until_serving(server.address, "street@b")
        (result,) = await answer(pinned, 1)
        assert result.result.model_version == "a"
        assert await listed(server.address) == [("street", "b"), ("street", "a")]
        assert (await get_model(server.address, "street@a")).labels[-1] == "a"
        picture = pb.DetectImageRequest(model="street@a", frame=raw(1).frame)
        assert (await service.DetectImage(picture)).result.model_version == "a"
        picture = pb.DetectImageRequest(model="street", frame=raw(1).frame)
        assert (await service.DetectImage(picture)).result.model_version == "b"
        late, _ = await opened(service, model="street@a")
        await pinned.done_writing()
        assert await rest(pinned) == []
        (result,) = await answer(late, 1)
        assert result.result.model_version == "a"
        await late.done_writing()
        assert await rest(late) == []
        await until_gone(server.address, "street@a")
        assert await listed(server.address) == [("street", "b")]
        code, text, why, _ = await refused(server.address, [config(model="street@a")])
        assert (code, why) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_VERSION")
        assert text == "model street has no version 'a'; version b is served"


async def test_going_back_to_a_version_that_is_still_there_loads_nothing(tmp_path: Path) -> None:
    loaded: list[str] = []
    file = write(tmp_path / "street.onnx", "a")
    async with (
        watched(tmp_path, loader=versioned_loader(loaded.append)) as server,
        stub(server.address) as service,
    ):
        pinned, _ = await opened(service, model="street@a")
        follower, _ = await opened(service)
        write(file, "b")
        await until_serving(server.address, "street@b")
        write(file, "a")
        await until_gone(server.address, "street@b")
        assert loaded == ["a", "b"]
        assert await listed(server.address) == [("street", "a")]
        (result,) = await answer(follower, 1)
        assert result.result.model_version == "a"
        write(file, "c")
        await until_serving(server.address, "street@c")
        (result,) = await answer(pinned, 1)
        assert result.result.model_version == "a"


async def test_options_follow_and_are_checked_against_the_version_that_serves(tmp_path: Path) -> None:
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path) as server, stub(server.address) as service:
        only_a = pb.DetectionOptions(label_filter=pb.LabelFilter(labels=["thing", "a"]))
        call, _ = await opened(service, options=only_a)
        write(file, "b")
        await until_serving(server.address, "street@b")
        changed, result = await answer(call, 1)
        assert list(changed.model_changed.effective_options.label_filter.labels) == ["thing", "a"]
        assert len(result.result.detections.detections) == 1  # what b lacks matches nothing, and ends nothing
        good = pb.DetectionOptions(label_filter=pb.LabelFilter(labels=["b"]))
        await call.write(pb.DetectRequest(update=pb.UpdateConfig(options=good)))
        (result,) = await answer(call, 2)
        assert not result.result.detections.detections
        await call.write(pb.DetectRequest(update=pb.UpdateConfig(options=only_a)))
        with pytest.raises(grpc.aio.AioRpcError) as end:
            await rest(call)
        assert end.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_version_that_fails_is_refused_and_the_old_one_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def loading(version: str) -> None:
        if version == "bad":
            raise RuntimeError("the engine is out of cheese")
        if version == "huge":
            raise MemoryError

    file = write(tmp_path / "street.onnx", "a")
    async with (
        watched(tmp_path, loader=versioned_loader(loading)) as server,
        stub(server.address) as service,
    ):
        call, _ = await opened(service)
        for version, says in (
            ("bad", "RuntimeError: the engine is out of cheese"),
            ("huge", "too little memory"),
        ):
            write(file, version)
            await until(server.address, name := f"street@{digest_of(version)}", Status.NOT_SERVING)
            model = await get_model(server.address, "street")
            assert (model.state, model.version) == (model_pb2.MODEL_STATE_READY, "a")
            assert model.failure == "" and says in model.update_failure
            (result,) = await answer(call, len(version))
            assert result.result.model_version == "a"
            await until_serving(server.address, "street")
        assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
            f"model street: a new version is refused, a goes on: {file}: cannot be loaded: "
            "RuntimeError: the engine is out of cheese",
            f"model street: a new version is refused, a goes on: {file}: there is too little memory for it",
        ]
        write(file, "b")
        await until_serving(server.address, "street@b")
        await until_gone(server.address, name)
        assert (await get_model(server.address, "street")).update_failure == ""


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


async def test_too_little_memory_is_told_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path) as server:
        monkeypatch.setattr("framewire_server.lifecycle.memory.available_bytes", lambda root: 5 << 20)
        write(file, "b")
        await until(server.address, f"street@{digest_of('b')}", Status.NOT_SERVING)
        model = await get_model(server.address, "")
        assert model.version == "a"
        assert model.update_failure == (
            "too little memory: loading it takes about 64 MiB, and 5 MiB are available"
        )
        monkeypatch.undo()
        write(file, "c")
        await until_serving(server.address, "street@c")


async def test_so_many_former_versions_are_kept_and_no_more(tmp_path: Path) -> None:
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, max_old_versions=1) as server, stub(server.address) as service:
        first, _ = await opened(service, model="street@a")
        write(file, "b")
        await until_serving(server.address, "street@b")
        second, _ = await opened(service, model="street@b")
        write(file, "c")
        await until(server.address, f"street@{digest_of('c')}", Status.NOT_SERVING)
        assert (
            "1 former versions are the most (max_old_versions); there are: a"
            in (await get_model(server.address, "street")).update_failure
        )
        await first.done_writing()
        assert await rest(first) == []
        write(file, "d")
        await until_serving(server.address, "street@d")
        assert await listed(server.address) == [("street", "d"), ("street", "b")]
        second.cancel()


@pytest.mark.parametrize("most", [0, 1])
async def test_what_was_refused_for_want_of_places_is_tried_again_when_one_is_free(
    tmp_path: Path, most: int
) -> None:
    file = write(tmp_path / "street.onnx", "v0")
    async with watched(tmp_path, max_old_versions=most) as server, stub(server.address) as service:
        first, _ = await opened(service, model="street@v0")
        second = None
        if most:
            write(file, "v1")
            await until_serving(server.address, "street@v1")
            second, _ = await opened(service, model="street@v1")
        write(file, "v2")
        await until(server.address, f"street@{digest_of('v2')}", Status.NOT_SERVING)
        await first.done_writing()
        assert await rest(first) == []
        await until_serving(server.address, "street@v2")
        if second:
            second.cancel()


async def test_what_was_refused_for_want_of_memory_is_tried_again_when_a_model_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = write(tmp_path / "street.onnx", "a"), write(tmp_path / "pets.onnx", "p")
    async with watched(tmp_path) as server:
        monkeypatch.setattr("framewire_server.lifecycle.memory.available_bytes", lambda root: 5 << 20)
        write(file, "b")
        await until(server.address, f"street@{digest_of('b')}", Status.NOT_SERVING)
        monkeypatch.undo()
        other.unlink()
        await until_serving(server.address, "street@b")


async def test_the_old_version_answers_while_the_new_one_loads(tmp_path: Path) -> None:
    gate = Gate("b")
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, loader=versioned_loader(gate)) as server, stub(server.address) as service:
        call, _ = await opened(service)
        write(file, "b")
        assert await asyncio.to_thread(gate.reached.wait, 30)
        (result,) = await answer(call, 1)
        assert result.result.model_version == "a"
        # Another one comes while it loads: what was loaded is not what lies there, and nobody gets to see it.
        write(file, "c")
        gate.opened.set()
        await until_serving(server.address, "street@c")
        changed, _ = await answer(call, 2)
        assert changed.model_changed.model_version == "c"


async def test_a_server_that_stops_while_a_model_loads_leaves_nothing_behind(tmp_path: Path) -> None:
    gate = Gate("b")
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, loader=versioned_loader(gate)):
        write(file, "b")
        assert await asyncio.to_thread(gate.reached.wait, 30)
        asyncio.get_running_loop().call_later(4 * SETTLE_S, gate.opened.set)
    assert gate.opened.is_set()  # the server waited for its thread
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_half_copied_file_is_waited_for(tmp_path: Path) -> None:
    loaded: list[str] = []
    write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, loader=versioned_loader(loaded.append), watch_settle_s=1.0) as server:
        with (tmp_path / "street.onnx").open("w") as file:
            for part in ("whole ", "content ", "at ", "last"):
                file.write(part)
                file.flush()
                await asyncio.sleep(0.05)  # a copy in progress is one that takes time
        await until_serving(server.address, "street@whole content at last")
    assert loaded == ["a", "whole content at last"]


async def test_rapid_changes_end_with_the_last(tmp_path: Path) -> None:
    file = write(tmp_path / "street.onnx", "v0")
    async with watched(tmp_path) as server:
        for n in range(1, 50):
            write(file, f"v{n}")
        await until_serving(server.address, "street@v49")
        assert await listed(server.address) == [("street", "v49")]


async def test_what_is_only_touched_is_not_loaded_again(tmp_path: Path) -> None:
    loaded: list[str] = []
    file = write(tmp_path / "street.onnx", "a")
    write(tmp_path / "aisle.onnx", "a")
    async with watched(tmp_path, loader=versioned_loader(loaded.append)) as server:
        file.touch()
        (tmp_path / ".street.onnx.swp").touch()
        write(tmp_path / "aisle.onnx", "b")
        await until_serving(server.address, "aisle@b")
    assert loaded == ["a", "a", "b"]


async def test_what_lies_beside_a_model_is_part_of_its_version(tmp_path: Path) -> None:
    file = write(tmp_path / "street.onnx", "a")
    loads = iter(range(100))

    def loading(version: str) -> None:
        if next(loads) > 0:
            raise ValueError("was asked to load it again")

    async with watched(tmp_path, loader=versioned_loader(loading)) as server:
        labels = write(tmp_path / "street.labels.txt", "cat")
        other = files.version(files.digest(file))
        await until(server.address, f"street@{other}", Status.NOT_SERVING)
        assert "was asked to load it again" in (await get_model(server.address, "street")).update_failure
        labels.unlink()  # as it was: what serves is what lies there
        await until_gone(server.address, f"street@{other}")
        assert (await get_model(server.address, "street")).update_failure == ""


async def test_polling_sees_changes_too(tmp_path: Path) -> None:
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, watch="poll") as server:
        write(file, "b")
        await until_serving(server.address, "street@b")


async def test_without_watching_nothing_changes(tmp_path: Path) -> None:
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, watch="off", admin=True) as server:
        write(file, "b")
        write(tmp_path / "aisle.onnx", "a")
        assert await listed(server.address) == [("street", "a")]
        answers = await talk(server.address, [config(), raw(1)])
        assert answers[1].result.model_version == "a"


async def test_a_stream_that_asks_for_a_version_gets_no_more_turns_than_the_others(tmp_path: Path) -> None:
    write(tmp_path / "street.onnx", "a")
    begun, permits = threading.Semaphore(0), threading.Semaphore(0)

    def batch(count: int) -> None:
        begun.release()
        assert permits.acquire(timeout=30)

    latest = pb.OverloadPolicy(latest=pb.LatestPolicy(capacity=4))
    settings = {"loader": versioned_loader(before=batch), "lanes": 1, "max_batch": 1}
    async with watched(tmp_path, **settings) as server, stub(server.address) as service:
        try:
            calls = [
                (await opened(service, model=model, overload=latest))[0]
                for model in ("street", "street", "street@a")
            ]
            await calls[0].write(raw(1))  # keeps the lane busy until the others wait
            assert await asyncio.to_thread(begun.acquire, timeout=10)
            for call in calls:
                for frame_id in range(2, 7):
                    await call.write(raw(frame_id))
            for call in calls:
                superseded = (await call.read()).result
                assert (superseded.frame_id, superseded.WhichOneof("outcome")) == (2, "dropped"), "four wait"
            permits.release(1 + 6)
            for call, answers in zip(calls, (3, 2, 2), strict=True):
                for _ in range(answers):
                    response = await asyncio.wait_for(call.read(), 10)
                    assert response.result.HasField("detections")
        finally:
            permits.release(100)
