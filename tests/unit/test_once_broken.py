"""What was broken once: each of these failed before its defect was cured."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from framewire_server.config import ServerConfig
from framewire_server.core.budget import ByteBudget
from framewire_server.core.mailbox import WhenFull
from framewire_server.core.outcomes import DropReason, ErrorReason, Failed
from framewire_server.core.pooled import PooledDevice
from framewire_server.core.scheduler import Scheduler
from framewire_server.core.stream import Stream, Wait
from framewire_server.errors import ModelError
from framewire_server.models.labels import COCO_SPARSE
from framewire_server.models.options import resolve
from framewire_server.models.recognition import recognise
from framewire_server.models.repository import Entry
from framewire_server.pipeline.loading import load
from framewire_server.vision.boxes import Candidates, suppress
from framewire_server.vision.headers import jpeg_size
from tests.unit import onnx_models
from tests.unit.frames import MODEL, Core, Owner, frame
from tests.unit.test_devices import Network, Slow, bench, start
from tests.unit.test_scheduler import Sender

# 1. pooled.py: a worker that meets a full batch sleeps until an inference ends, not until the batch is sealed


def test_an_idle_lane_gets_the_second_of_two_frames_sent_at_once() -> None:
    for _ in range(20):
        network = Network(max_batch=1)
        with bench("pooled", network, lanes=2, workers=2) as at:
            at.send("a", "b")
            assert sorted([start(network), network.started.get(timeout=2)]) == [["a"], ["b"]]
            network.let(2)
            at.outcomes(2)


# 2. pooled.py: `_seal` reads the clock twice; in between the wait may end, and then the lane waits for ever


def test_a_batch_wait_that_ends_between_two_looks_at_the_clock_still_ends() -> None:
    ticks = itertools.count()
    delivered: list[object] = []
    network = Network(batch_wait_s=1.0, gated=False)
    scheduler = Scheduler(delivered.extend, lambda: next(ticks) * 0.6)
    device = PooledDevice("ticking", scheduler, delivered.extend, lanes=1, workers=1)
    device.bind(network.name, network)
    device.start()
    box = scheduler.open_mailbox(MODEL, MODEL, "a", 8, WhenFull.DROP_OLDEST)
    scheduler.put(box, frame(Owner(), 1))
    try:
        network.started.get(timeout=3)
    finally:
        scheduler.close()
        device.join(5)


# 3. scheduler.py: `take` moves models that the caller does not want to the end of the order


def test_a_device_of_other_models_takes_nothing_from_the_turns_of_ours() -> None:
    core = Core()
    for model in "ABC":
        Sender(core, "x", model)
    got: Counter[str] = Counter({"A": 0, "B": 0})
    for _ in range(50):
        for wanted in (("A", "B"), ("C",)):
            taken = core.take(*wanted)
            assert taken is not None and isinstance(taken.tag, Sender)
            got[taken.tag.model] += 1
            taken.tag.send()
    assert got["A"] == got["B"]


# 4. device.py: `add` wakes nobody, so that frames which came before wait for the next one


@pytest.mark.parametrize("kind", ["inline", "pooled"])
def test_frames_that_came_before_their_model_was_added_are_answered(kind: str) -> None:
    with bench(kind, Network("other", gated=False)) as at:
        at.send("early", model="late")
        at.send("x", model="other")
        at.outcomes(1)
        late = Network("late", gated=False)
        at.device.bind(late.name, late)
        late.started.get(timeout=2)


# 5. stream.py: `drop_all` takes the content away from a frame that a lane took and is about to decode


def test_the_end_of_the_server_fails_no_frame_that_a_lane_has_taken(caplog: pytest.LogCaptureFixture) -> None:
    class Strict(Network):
        def decode(self, item: object) -> object:
            assert item is not None, "the content is gone"
            return super().decode(item)

    network = Strict(max_batch=2, gated=False)
    first = Slow("first")
    with bench("inline", network) as at:
        stream = Stream(at.scheduler, ByteBudget(100), MODEL, MODEL, "a", Wait(), 4, lambda: None)
        # both frames wait before the lane may take them: it is held by another one
        holder = Slow("holder")
        at.send(holder)
        assert holder.begun.wait(5)
        for n, item in enumerate((first, "second")):
            stream.accept(n, item, None, size_bytes=1, read_at=0.0, expires_at=None, tag=None)
        holder.finish.set()
        assert first.begun.wait(5)
        stream.drop_all(DropReason.SHUTTING_DOWN)
        first.finish.set()
        at.outcomes(1)
        at.delivered.get(timeout=5)
    assert "failed on frame" not in caplog.text


# 6. app.py (being worked on): a wake-up of the event loop is lost


def test_outcomes_delivered_while_the_loop_resolves_others_are_resolved() -> None:
    from collections import deque
    from collections.abc import Iterable
    from typing import Any

    from framewire_server.app import Server

    drained = threading.Event()

    class Pausing(deque[Any]):
        """Lets the loop run just between `not self._outcomes` and `extend` of another thread."""

        def extend(self, items: Iterable[Any]) -> None:
            if threading.current_thread().name == "late":
                inside.set()
                drained.wait(5)
            super().extend(items)

    inside = threading.Event()

    async def run() -> list[int]:
        server = Server(ServerConfig(models=(Path("x.onnx"),)), load, None)
        server._outcomes = Pausing()
        owner = Owner()
        failed = Failed(ErrorReason.MODEL_FAILED, "")
        server._deliver([(frame(owner, 1), failed)])
        late = threading.Thread(target=lambda: server._deliver([(frame(owner, 2), failed)]), name="late")
        late.start()
        inside.wait(5)
        await asyncio.sleep(0.05)  # the loop resolves frame 1
        drained.set()
        late.join()
        await asyncio.sleep(0.05)
        server._deliver([(frame(owner, 3), failed)])
        await asyncio.sleep(0.05)
        return [n for n, _ in owner.ended]

    assert asyncio.run(run()) == [1, 2, 3]


# 7. labels, model file: text that is not UTF-8 is a traceback; a byte order mark becomes part of the first label


@pytest.mark.parametrize("name", ["pets.txt", "pets.yaml"])
def test_text_that_is_not_utf_8_is_a_model_error(tmp_path: Path, name: str) -> None:
    model = onnx_models.yolov8(tmp_path / "pets.onnx")
    (tmp_path / name).write_bytes("schema: 1 # caf\xe9\n".encode("latin-1"))
    with pytest.raises(ModelError):
        recognise(model)


def test_a_byte_order_mark_is_no_part_of_the_first_label(tmp_path: Path) -> None:
    model = onnx_models.yolov8(tmp_path / "pets.onnx")
    (tmp_path / "labels.txt").write_bytes("\ufeffbackground\ncat\ndog\n".encode())
    assert recognise(model).labels == ("cat", "dog")


# 8. onnx_file.py: a dimension of -1 or 0, as some exporters write a dynamic one, is taken as a size


@pytest.mark.parametrize("size", [-1, 0])
def test_a_batch_of_minus_1_or_0_is_dynamic(tmp_path: Path, size: int) -> None:
    model = onnx.load(onnx_models.yolov8(tmp_path / "pets.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    onnx.save(model, tmp_path / "pets.onnx")
    entry = Entry("pets", tmp_path / "pets.onnx")
    assert load(entry, ServerConfig(max_batch=2)).max_batch == 2


# 9. ssd: labels without a background line are one off, silently


def test_the_90_names_of_coco_belong_to_the_ids_1_to_90(tmp_path: Path) -> None:
    model = onnx_models.ssd(tmp_path / "street.onnx", rows=[[0, 1, 0.9, 0, 0, 1, 1]])
    (tmp_path / "labels.txt").write_text("\n".join(COCO_SPARSE[1:]))
    assert recognise(model).labels[1] == "person"


# 10. yolov8: normalisation inside the graph is done twice


def test_a_yolov8_that_divides_by_255_itself_is_fed_pixels_as_they_are(tmp_path: Path) -> None:
    model = onnx.load(onnx_models.yolov8(tmp_path / "pets.onnx"))
    graph = model.graph
    graph.initializer.append(onnx_models.constant("d", np.array([255.0], np.float32)))
    graph.node[0].input[0] = "divided"
    graph.node.insert(0, onnx.helper.make_node("Div", ["images", "d"], ["divided"]))
    onnx.save(model, tmp_path / "pets.onnx")
    assert recognise(tmp_path / "pets.onnx").preprocessing.scale == (1, 1, 1)


# 11. detector: the last label's place in the allow-list decides on classes without a label; [] is an IndexError


def detect(tmp_path: Path, labels_text: str | None, allowed: list[str]) -> list[str]:
    rows = [[0, 1, 0.9, 0, 0, 0.5, 0.5], [0, 5, 0.8, 0.5, 0.5, 1, 1]]
    path = onnx_models.ssd(tmp_path / "street.onnx", rows=rows)
    if labels_text:
        (tmp_path / "labels.txt").write_text(labels_text)
    path.with_suffix(".yaml").write_text("schema: 1\nmean: [0, 0, 0]\n")
    entry = Entry("street", path)
    detector = load(entry, ServerConfig())
    assert entry.spec is not None
    options = resolve(entry.spec, labels=allowed)
    batch = detector.new_rows()
    placement = detector.place(np.full((32, 32, 3), 255, np.uint8), batch, 0)
    return [found.label for found in detector.detect(detector.infer(batch, 1), 0, placement, options)]


def test_a_class_without_a_label_is_on_no_allow_list(tmp_path: Path) -> None:
    assert detect(tmp_path, "background\ncar\n", ["car"]) == ["car"]


def test_an_allow_list_of_nothing_on_a_model_without_labels_allows_nothing(tmp_path: Path) -> None:
    assert detect(tmp_path, None, []) == []


# 12. boxes: suppression throws away scores of exactly 0, but only when there are two boxes


def test_suppression_keeps_a_score_of_0() -> None:
    before = Candidates(
        np.array([[0, 0, 1, 1], [5, 5, 6, 6]], np.float32),
        np.array([0.0, 0.5], np.float32),
        np.zeros(2, np.intp),
    )
    assert len(suppress(before, 0.5)) == 2


# 13. headers: 16 MiB of fill bytes hold the interpreter for seconds


def test_a_frame_of_fill_bytes_is_refused_quickly() -> None:
    begin = time.perf_counter()
    with pytest.raises(ValueError, match=r"\w"):
        jpeg_size(b"\xff\xd8" + b"\xff" * (16 << 20))
    assert time.perf_counter() - begin < 0.2


# 14. pictures: cancelled pictures keep their places until a lane comes by


def test_cancelled_pictures_leave_their_places() -> None:
    from tests.unit.test_pictures import Desk

    core = Core()
    desk = Desk(core, capacity=2)
    desk.submit()
    core.take()  # the lane is busy, and one picture is unresolved all the time
    for _ in range(2):
        desk.submit()()
    desk.submit()
    assert desk.ended == []


# 15. ultralytics segmentation (two outputs) does not get the message about its task


def test_a_segmentation_model_is_refused_by_its_task(tmp_path: Path) -> None:
    path = onnx_models.strange(
        tmp_path / "seg.onnx", outputs={"output0": ["batch", 116, 8400], "output1": ["batch", 32, 160, 160]}
    )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"task": "segment", "names": "{0: 'x'}", "stride": "32"})
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"task is .segment"):
        recognise(path)
