"""Plans that were built before are taken again, and nothing else is."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from framewire_server.engines.tensorrt.cache import PlanCache, Target, key_of
from tests.unit import onnx_models

TARGET = Target("11.4.0.106", "NVIDIA L4", "8.9", "580.95.05")
OPTIONS = {"precision": "fp32", "batches": [1, 8]}
KEY, OTHER_KEY = "ab" + 62 * "0", "cd" + 62 * "0"


class Builder:
    """Counts how often it is asked."""

    def __init__(self, plan: bytes = b"a plan") -> None:
        self.plan = plan
        self.asked = 0

    def __call__(self) -> bytes:
        self.asked += 1
        return self.plan


def test_a_plan_is_built_once(tmp_path: Path) -> None:
    build = Builder()
    for _ in range(2):
        assert bytes(PlanCache(tmp_path / "new" / "folder").plan(KEY, build)) == b"a plan"
    assert build.asked == 1
    assert bytes(PlanCache(tmp_path / "new" / "folder").plan(OTHER_KEY, build)) == b"a plan"
    assert build.asked == 2


def test_a_plan_that_was_forgotten_is_built_again(tmp_path: Path) -> None:
    cache, build = PlanCache(tmp_path), Builder()
    cache.plan(KEY, build)
    cache.forget(KEY)
    cache.forget(KEY)
    cache.plan(KEY, build)
    assert build.asked == 2


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _changed(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def _foreign(path: Path) -> None:
    path.write_bytes(b"another program's file")


def _of_another_key(path: Path) -> None:
    PlanCache(path.parent).plan(OTHER_KEY, Builder(b"another plan"))
    (path.parent / f"{OTHER_KEY}.plan").replace(path)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [_cut, _changed, _foreign, _of_another_key, _empty])
def test_what_is_damaged_or_foreign_is_built_again(
    tmp_path: Path, harm: object, caplog: pytest.LogCaptureFixture
) -> None:
    cache, build = PlanCache(tmp_path), Builder()
    cache.plan(KEY, build)
    harm(tmp_path / f"{KEY}.plan")  # type: ignore[operator]
    assert bytes(cache.plan(KEY, build)) == b"a plan" and build.asked == 2
    assert caplog.text.count("built anew") == 1
    assert bytes(cache.plan(KEY, build)) == b"a plan" and build.asked == 2


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fails() -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PlanCache(tmp_path).plan(KEY, fails)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    assert bytes(PlanCache(tmp_path).plan(KEY, Builder())) == b"a plan"


def test_threads_that_want_the_same_plan_build_it_once(tmp_path: Path) -> None:
    started, go_on = threading.Event(), threading.Event()
    found: list[bytes] = []
    second = Builder(b"the second one's")

    def slow() -> bytes:
        started.set()
        assert go_on.wait(10)
        return b"the first one's"

    def want(build: object) -> None:
        found.append(bytes(PlanCache(tmp_path).plan(KEY, build)))  # type: ignore[arg-type]

    threads = [threading.Thread(target=want, args=(build,)) for build in (slow, second)]
    threads[0].start()
    assert started.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert found == [b"the first one's"] * 2 and second.asked == 0


def _want(folder: Path, asked: SimpleQueue[int], found: SimpleQueue[bytes]) -> None:
    def build() -> bytes:
        asked.put(os.getpid())
        return bytes(str(os.getpid()), "ascii")

    found.put(bytes(PlanCache(folder).plan(KEY, build)))


def test_processes_that_want_the_same_plan_build_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    asked: SimpleQueue[int] = context.SimpleQueue()
    found: SimpleQueue[bytes] = context.SimpleQueue()
    processes = [context.Process(target=_want, args=(tmp_path, asked, found)) for _ in range(3)]
    for process in processes:
        process.start()
    answers = {found.get() for _ in processes}
    for process in processes:
        process.join()
    assert answers == {bytes(str(asked.get()), "ascii")} and asked.empty()


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path, most_bytes=3 * 1500)
    keys = [f"{n:064x}" for n in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.plan(key, Builder(bytes(1200)))
        os.utime(tmp_path / f"{key}.plan", (age, age))
    cache.plan(keys[0], Builder())  # used again
    cache.plan(keys[3], Builder(bytes(1200)))
    assert {path.stem for path in tmp_path.glob("*.plan")} == {keys[0], keys[2], keys[3]}
    cache.plan(OTHER_KEY, Builder(bytes(9000)))  # larger than all the room: kept all the same
    assert {path.stem for path in tmp_path.glob("*.plan")} == {OTHER_KEY}


def test_a_plan_is_served_though_its_folder_cannot_be_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    build = Builder()
    cache = PlanCache(tmp_path / "file")
    for _ in range(2):
        assert bytes(cache.plan(KEY, build)) == b"a plan"
    assert build.asked == 2
    assert caplog.text.count("file: built plans cannot be kept there: File exists; they are served") == 2


def test_a_plan_is_served_though_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    build = Builder()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert bytes(PlanCache(tmp_path).plan(KEY, build)) == b"a plan"
    assert caplog.text.count("cannot be kept there: No space left on device") == 1
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    assert bytes(PlanCache(tmp_path).plan(KEY, build)) == b"a plan" and build.asked == 2


def test_an_entry_that_cannot_be_read_is_built_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"{KEY}.plan").mkdir()
    assert bytes(PlanCache(tmp_path).plan(KEY, Builder())) == b"a plan"
    assert "cannot be read: Is a directory: built anew" in caplog.text


def _network(path: Path) -> onnx.ModelProto:
    return onnx.load(onnx_models.yolov8(path / "a.onnx"))


def test_the_key_is_of_the_network_however_it_was_stored(tmp_path: Path) -> None:
    network = _network(tmp_path)
    key = key_of(network, OPTIONS, TARGET)
    onnx.save(
        network,
        tmp_path / "b.onnx",
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
        convert_attribute=False,
    )
    stored_apart = onnx.load(tmp_path / "b.onnx")
    stored_apart.producer_name, stored_apart.doc_string = "another", "exported on a Monday"
    assert key_of(stored_apart, dict(reversed(OPTIONS.items())), TARGET) == key
    assert len(key) == 64


def test_the_key_is_another_for_any_weight_option_and_target(tmp_path: Path) -> None:
    network = _network(tmp_path)
    keys = {key_of(network, OPTIONS, TARGET)}
    keys.add(key_of(network, {**OPTIONS, "precision": "fp16"}, TARGET))
    keys.add(key_of(network, OPTIONS, Target("11.4.0.107", *_rest(TARGET))))
    keys.add(key_of(network, OPTIONS, Target(TARGET.tensorrt, "NVIDIA T4", "7.5", TARGET.driver)))
    keys.add(key_of(network, OPTIONS, Target(TARGET.tensorrt, TARGET.gpu, "8.9", None)))
    (weights, *_) = network.graph.initializer
    values = numpy_helper.to_array(weights).copy()
    values.flat[-1] = np.nextafter(values.flat[-1], np.float32(1))
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    keys.add(key_of(network, OPTIONS, TARGET))
    network.graph.node[0].op_type = "Another"
    keys.add(key_of(network, OPTIONS, TARGET))
    assert len(keys) == 7


def _rest(target: Target) -> tuple[str, str, str | None]:
    return target.gpu, target.compute_capability, target.driver
