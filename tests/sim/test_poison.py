"""What nobody wrote is poison, and what nobody awaited is not there."""

from __future__ import annotations

import numpy as np

from tests.sim import Simulation
from tests.sim.memory import FREED, UNWRITTEN
from tests.sim.programs import ITEM, elsewhere, lane, pushed


def is_filled(array: np.ndarray, byte: int) -> bool:
    return bool((array.reshape(-1).view(np.uint8) == byte).all())


def test_memory_begins_as_poison(sim: Simulation) -> None:
    with pushed() as cuda:
        pinned, memory = cuda.pagelocked_empty((2, 3), np.float32), cuda.mem_alloc(24)
        assert is_filled(pinned, UNWRITTEN)
        pinned[:] = 1
        cuda.memcpy_dtoh(pinned, memory)
        assert is_filled(pinned, UNWRITTEN)
        view = pinned[:]
        pinned.base.free()
        assert is_filled(view, FREED)
        memory.free()


def test_nothing_runs_before_it_is_awaited(sim: Simulation) -> None:
    with lane() as made:
        made.host_in[:] = 1
        made.shape()
        made.enqueue()
        assert is_filled(made.host_out, UNWRITTEN)
        assert not sim.threads.blocked & {"elsewhere"}
        elsewhere(made.stream.synchronize)
        assert (made.host_out == 2).all()
        assert "elsewhere" in sim.threads.blocked
        made.host_in[:] = 3
        made.enqueue()
        assert is_filled(made.host_out, UNWRITTEN)  # and not the answer of before
        made.stream.synchronize()


def test_an_inference_leaves_nothing_of_the_one_before(sim: Simulation) -> None:
    with lane() as made:
        made.host_in[:] = 1
        made.run(4)
        made.shape(1)
        made.enqueue(1)
        made.cuda.memcpy_dtoh_async(
            made.host_out, made.device_out, made.stream
        )  # of four items, and one was inferred
        made.stream.synchronize()
        assert (made.host_out[0] == 2).all() and (made.host_out[1:] == 2).all()  # the others are not touched
        made.enqueue(1)
        made.stream.synchronize()
        assert (made.host_out[0] == 2).all()


def test_an_event_orders_two_streams(sim: Simulation) -> None:
    with lane() as made:
        other, event = made.cuda.Stream(1), made.cuda.Event(2)
        made.host_in[:] = 4
        made.shape()
        made.cuda.memcpy_htod_async(made.device_in, made.host_in, made.stream)
        assert made.context.execute_async_v3(made.stream.handle)
        assert event.record(made.stream) is event
        assert not event.query() or made.stream.is_done()
        other.wait_for_event(event)
        made.cuda.memcpy_dtoh_async(made.host_out, made.device_out, other)
        other.synchronize()  # and with it what the event stands for
        assert (made.host_out == 8).all()
        assert event.query() and event.synchronize() is event
        del other, event


def test_questions_let_the_gpu_get_on(sim: Simulation) -> None:
    with lane() as made:
        made.host_in[:] = 4
        made.shape()
        made.enqueue()
        answers = [made.stream.is_done() for _ in range(4)]
        assert answers[0] is False and answers[-1] is True
        assert (made.host_out == 8).all()


def test_the_consumed_event_says_when_inputs_may_be_written(sim: Simulation) -> None:
    with lane() as made:
        event = made.cuda.Event()
        made.shape()
        assert made.context.set_input_consumed_event(12345) is False
        handle = sim.streams.create_event(sim.gpus[0]).handle  # as cuda.bindings would give one
        assert made.context.set_input_consumed_event(handle)
        made.enqueue()
        consumed = sim.streams.find_event(handle)
        assert consumed is not None and consumed.mark is not None and not consumed.mark.done
        made.stream.synchronize()
        assert consumed.mark.done
        sim.streams.destroy_event(consumed)
        del event


def test_synchronous_copies_go_both_ways(sim: Simulation) -> None:
    with pushed() as cuda:
        memory, source = cuda.mem_alloc(48 * 4), np.arange(48, dtype=np.float32).reshape(ITEM)
        cuda.memcpy_htod(memory, source)
        other, back, stream = cuda.mem_alloc(48 * 4), np.empty(ITEM, np.float32), cuda.Stream(1)
        cuda.memset_d8_async(other, 0, 48 * 4, stream)
        cuda.memcpy_dtod_async(other, memory, 24 * 4, stream)
        stream.synchronize()
        cuda.memcpy_dtoh(back, other)
        assert np.array_equal(back.reshape(-1), np.concatenate([np.arange(24), np.zeros(24)]))
        memory.free()
        other.free()
        del stream
