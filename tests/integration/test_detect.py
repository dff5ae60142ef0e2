"""The rules of a Detect call, by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from framewire.v1 import detection_pb2 as pb
from framewire_server.app import Ready
from tests.fakes import LABELS, fake_loader
from tests.serving import served
from tests.wire import config, raw, refused, rest, results, stub, talk

FAKE = Path("fake.onnx")


@pytest.fixture
async def server() -> AsyncIterator[Ready]:
    async with served(FAKE, loader=fake_loader(), window=4, max_frame_bytes=1 << 20) as ready:
        yield ready


async def test_a_stream_starts_with_what_it_got(server: Ready) -> None:
    options = pb.DetectionOptions(score_threshold=0.5, iou_threshold=0.3)
    (first,) = await talk(server.address, [config(options=options)])
    started = first.started
    assert (started.model, started.model_version, tuple(started.labels)) == ("fake", "v1", LABELS)
    assert (started.input_width, started.input_height, started.window) == (64, 48, 4)
    assert started.effective_options.score_threshold == 0.5
    assert not started.effective_options.HasField("iou_threshold"), "the model's boxes are final"
    assert started.limits.max_frame_bytes == 1 << 20
    assert pb.FRAME_ENCODING_JPEG in started.accepted_encodings
    assert started.overload.WhichOneof("policy") == "wait"


async def test_every_frame_is_answered_in_order_with_its_own_content(server: Ready) -> None:
    responses = await talk(server.address, [config(), *(raw(n, value=n) for n in range(1, 200))])
    answered = results(responses)
    assert [result.frame_id for result in answered] == list(range(1, 200))
    for result in answered:
        (found,) = result.detections.detections
        assert found.score == pytest.approx(result.frame_id / 255, abs=1e-6)
        assert found.label == "thing"
        assert (found.box.left, found.box.top, found.box.right, found.box.bottom) == (0, 0, 1, 1)
        assert (result.width, result.height) == (2, 2)
        assert result.timings.total.ToNanoseconds() >= result.timings.inference.ToNanoseconds() > 0


async def test_capture_time_is_echoed(server: Ready) -> None:
    frame = raw(1)
    frame.frame.capture_time.FromJsonString("2026-01-02T03:04:05.678Z")
    (result,) = results(await talk(server.address, [config(), frame]))
    assert result.capture_time.ToJsonString() == "2026-01-02T03:04:05.678Z"


async def test_a_call_without_config_and_frames_ends_ok(server: Ready) -> None:
    assert await talk(server.address, []) == []


@pytest.mark.parametrize(
    ("requests", "reason", "says"),
    [
        ([raw(1)], "CONFIG_MISSING", "first message must be a StreamConfig"),
        ([pb.DetectRequest()], "CONFIG_MISSING", "first message must be a StreamConfig"),
        ([config(), config()], "CONFIG_REPEATED", "one StreamConfig"),
        ([config(), raw(5), raw(5)], "FRAME_ID_NOT_INCREASING", "frame_id 5 comes after 5"),
        ([config(), raw(5), raw(4)], "FRAME_ID_NOT_INCREASING", "frame_id 4 comes after 5"),
        ([config(), pb.DetectRequest()], "EMPTY_MESSAGE", "without config, update or frame"),
        ([config(options={"score_threshold": 1.5})], "BAD_OPTION", "score_threshold must be between 0 and 1"),
        ([config(options={"score_threshold": float("nan")})], "BAD_OPTION", "score_threshold"),
        ([config(options={"iou_threshold": -0.1})], "BAD_OPTION", "iou_threshold must be between 0 and 1"),
        ([config(options={"max_detections": 0})], "BAD_OPTION", "max_detections must be at least 1"),
        (
            [config(options={"max_frame_age": {"seconds": -1}})],
            "BAD_OPTION",
            "max_frame_age must be positive",
        ),
        (
            [config(options={"label_filter": {"labels": ["cat"]}})],
            "UNKNOWN_LABEL",
            "it knows background, thing",
        ),
        ([config(stream_name="x" * 129)], "BAD_OPTION", "stream_name is longer than 128 bytes"),
    ],
)
async def test_a_broken_rule_ends_the_call(
    server: Ready, requests: list[pb.DetectRequest], reason: str, says: str
) -> None:
    code, text, why, _ = await refused(server.address, requests)
    assert (code, why) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert says in text


async def test_an_error_comes_after_the_outcomes_of_frames_accepted_before(server: Ready) -> None:
    _, _, why, responses = await refused(server.address, [config(), *(raw(n) for n in range(1, 40)), raw(1)])
    assert why == "FRAME_ID_NOT_INCREASING"
    assert [result.frame_id for result in results(responses)] == list(range(1, 40))


async def test_a_bad_update_ends_the_call_and_a_good_one_applies_from_the_next_frame(server: Ready) -> None:
    update = pb.DetectRequest(update=pb.UpdateConfig(options=pb.DetectionOptions(score_threshold=0.5)))
    responses = await talk(server.address, [config(), raw(1, 100), update, raw(2, 100), raw(3, 200)])
    assert [len(result.detections.detections) for result in results(responses)] == [1, 0, 1]
    assert all(result.WhichOneof("outcome") == "detections" for result in results(responses))
    bad = pb.DetectRequest(
        update=pb.UpdateConfig(options=pb.DetectionOptions(label_filter={"labels": ["cat"]}))
    )
    code, _, why, _ = await refused(server.address, [config(), raw(1), bad])
    assert (code, why) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_LABEL")


async def test_unknown_models_and_versions_are_not_found(server: Ready) -> None:
    code, text, why, _ = await refused(server.address, [config(model="other")])
    assert (code, why) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL")
    assert "served are fake" in text
    code, text, why, _ = await refused(server.address, [config(model="fake@v9")])
    assert (code, why) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_VERSION")
    assert "version v1 is served" in text
    assert (await talk(server.address, [config(model="fake@v1")]))[0].started.model_version == "v1"


async def test_garbage_on_the_wire_ends_only_its_own_call(server: Ready) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        method: Any = channel.stream_stream("/framewire.v1.DetectionService/Detect")
        call = method(iter([b"\xff\xff garbage"]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not a framewire.v1.DetectRequest" in (caught.value.details() or "")
    assert len(results(await talk(server.address, [config(), raw(1)]))) == 1


@pytest.mark.parametrize(
    ("frame", "reason", "says"),
    [
        ({"encoding": pb.FRAME_ENCODING_UNSPECIFIED}, "UNSUPPORTED_ENCODING", "encoding is not set"),
        ({"encoding": pb.FRAME_ENCODING_H264}, "UNSUPPORTED_ENCODING", "H264 is not accepted"),
        ({"encoding": 99}, "UNSUPPORTED_ENCODING", "number 99 is not accepted"),
        ({"content": bytes((1 << 20) + 1)}, "TOO_LARGE", "this server takes 1048576"),
    ],
)
async def test_a_bad_frame_fails_alone_and_in_order(
    server: Ready, frame: dict[str, Any], reason: str, says: str
) -> None:
    answered = results(await talk(server.address, [config(), raw(1), raw(2, **frame), raw(3)]))
    assert [result.frame_id for result in answered] == [1, 2, 3]
    assert [result.WhichOneof("outcome") for result in answered] == ["detections", "error", "detections"]
    assert answered[1].error.reason == pb.FrameErrorReason.Value(f"FRAME_ERROR_REASON_{reason}")
    assert says in answered[1].error.message


async def test_a_message_over_the_transport_limit_ends_only_its_own_call(server: Ready) -> None:
    code, _, _, _ = await refused(server.address, [config(), raw(1, content=bytes(3 << 19))])
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(results(await talk(server.address, [config(), raw(1)]))) == 1


class Gate:
    """Lets the fake model answer only while it is open, and tells when it is reached."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()
        self.batches: list[int] = []

    def __call__(self, count: int) -> None:
        self.batches.append(count)
        self.reached.set()
        assert self.opened.wait(30)

    async def wait_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 30)


async def test_under_latest_drops_overtake_and_every_id_ends_once() -> None:
    gate = Gate()
    latest = pb.OverloadPolicy(latest=pb.LatestPolicy(capacity=2))
    async with (
        served(FAKE, loader=fake_loader(gate), window=8, lanes=1) as server,
        stub(server.address) as service,
    ):
        call: Any = service.Detect()
        await call.write(config(overload=latest))
        assert (await call.read()).started.overload.latest.capacity == 2
        await call.write(raw(1))
        await gate.wait_reached()
        for n in range(2, 8):
            await call.write(raw(n))
        dropped = [(await call.read()).result for _ in range(4)]
        assert [result.frame_id for result in dropped] == [2, 3, 4, 5], "drops overtake frame 1"
        assert {result.dropped.reason for result in dropped} == {pb.DROP_REASON_SUPERSEDED}
        assert all(result.batch_size == 0 and not result.model_version for result in dropped)
        gate.opened.set()
        await call.done_writing()
        answered = results(await rest(call))
        assert [result.frame_id for result in answered] == [1, 6, 7]
        assert all(result.HasField("detections") for result in answered)


async def test_busy_means_that_frames_gather_into_batches() -> None:
    gate = Gate()
    loader = fake_loader(gate)
    latest = pb.OverloadPolicy(latest=pb.LatestPolicy(capacity=5))
    async with (
        served(FAKE, loader=loader, window=8, lanes=1, max_batch=4) as server,
        stub(server.address) as service,
    ):
        call: Any = service.Detect()
        await call.write(config(overload=latest))
        await call.read()
        await call.write(raw(1))
        await gate.wait_reached()
        for n in range(2, 8):
            await call.write(raw(n))
        assert (await call.read()).result.frame_id == 2, "superseded, so 3 to 7 wait"
        gate.opened.set()
        await call.done_writing()
        answered = results(await rest(call))
        assert [(result.frame_id, result.batch_size) for result in answered] == [
            (1, 1), (3, 4), (4, 4), (5, 4), (6, 4), (7, 1),
        ]  # fmt: skip
        assert gate.batches == [1, 4, 1]


async def test_an_expired_frame_is_dropped_when_its_turn_comes() -> None:
    gate = Gate()
    async with (
        served(FAKE, loader=fake_loader(gate), window=8, lanes=1) as server,
        stub(server.address) as service,
    ):
        call: Any = service.Detect()
        await call.write(config(options={"max_frame_age": {"nanos": 500_000_000}}))
        await call.read()
        await call.write(raw(1))
        await gate.wait_reached()
        await call.write(raw(2, age={"seconds": 1}))
        await call.write(raw(3, age={"seconds": 1}))
        gate.opened.set()
        await call.done_writing()
        outcomes = {result.frame_id: result for result in results(await rest(call))}
        assert outcomes[1].HasField("detections")
        assert {outcomes[n].dropped.reason for n in (2, 3)} == {pb.DROP_REASON_EXPIRED}


async def test_a_client_that_never_reads_holds_a_bounded_number_of_frames() -> None:
    seen: list[int] = []
    window = 4
    latest = pb.OverloadPolicy(latest=pb.LatestPolicy())
    content = bytes([9]) * 60_000
    async with (
        served(FAKE, loader=fake_loader(seen.append), window=window) as server,
        stub(server.address) as service,
    ):
        call: Any = service.Detect()
        await call.write(config(overload=latest))

        async def send() -> None:
            for n in range(1, 2000):
                await call.write(raw(n, content=content, width=200, height=300))

        sender = asyncio.create_task(send())
        # Others are answered all the while, and after many of their rounds the silent one is still stuck.
        for _ in range(30):
            assert len(results(await talk(server.address, [config(), raw(1), raw(2)]))) == 2
        assert not sender.done()
        sender.cancel()
        await asyncio.wait([sender])
        call.cancel()


async def test_a_model_that_fails_ends_its_batch_and_the_lane_goes_on() -> None:
    def fail_once(count: int) -> None:
        if not failures:
            failures.append(count)
            raise RuntimeError("secret details")

    failures: list[int] = []
    async with served(FAKE, loader=fake_loader(fail_once), lanes=1) as server:
        answered = results(await talk(server.address, [config(), raw(1), raw(2)]))
        assert answered[0].error.reason == pb.FRAME_ERROR_REASON_MODEL_FAILED
        assert "secret" not in answered[0].error.message
        assert answered[1].HasField("detections")
