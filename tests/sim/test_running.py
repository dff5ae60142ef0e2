"""A right program on the simulator: build, deserialise, run."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from tests.sim import SimGpu, Simulation, install
from tests.sim.programs import DOUBLING, ITEM, Lane, Listener, build, doubling, lane, pushed
from tests.sim.violations import SimViolation


@pytest.mark.parametrize("sim", [{"personality": one} for one in ("10.0", "10.16", "11.4")], indirect=True)
def test_a_batch_goes_through_a_real_network(sim: Simulation) -> None:
    with lane() as made:
        for count in (4, 1, 3):
            made.host_in[:] = np.random.default_rng(count).normal(size=made.host_in.shape)
            assert np.array_equal(made.run(count), made.host_in[:count] * 2)


def test_work_runs_at_random_moments_with_a_seed() -> None:
    for seed in range(5):
        with install(seed=seed), lane() as made:
            made.host_in[:] = seed
            assert (made.run() == 2 * seed).all()


def test_two_gpus_have_their_own_engines() -> None:
    machine = [SimGpu(0, "small", (7, 5), 1 << 30), SimGpu(1, "large", (9, 0), 80 << 30)]
    with install(gpus=machine):
        for number, name in enumerate(("small", "large")):
            with lane(gpu=number) as made:
                device = made.cuda.Context.get_device()
                assert (device.name(), device.total_memory()) == (name, machine[number].memory_bytes)
                free, total = made.cuda.mem_get_info()
                assert total - free > made.host_in.nbytes
                made.host_in[:] = number + 1
                assert (made.run() == 2 * number + 2).all()


def test_half_floats_stay_half(sim: Simulation) -> None:
    with pushed() as cuda:
        listener = Listener()
        import tensorrt as trt

        plan = build(doubling(TensorProto.FLOAT16), DOUBLING, logger=listener.logger)
        engine = trt.Runtime(listener.logger).deserialize_cuda_engine(plan)
        assert engine.get_tensor_dtype("y") == trt.float16
        context = engine.create_execution_context()
        stream, memory, answer = cuda.Stream(1), cuda.mem_alloc(2 * 48 * 2), cuda.mem_alloc(2 * 48 * 2)
        host = cuda.pagelocked_zeros((2, *ITEM), np.float16)
        host += 1
        assert context.set_input_shape("x", host.shape)
        assert context.set_tensor_address("x", int(memory)) and context.set_tensor_address("y", int(answer))
        cuda.memcpy_htod_async(memory, host, stream)
        assert context.execute_async_v3(stream.handle)
        cuda.memcpy_dtoh_async(host, answer, stream)
        stream.synchronize()
        assert (host == 2).all()
        memory.free()
        answer.free()
        del context, engine, stream, host  # in the context, as everything


def test_what_is_left_is_told_at_the_end() -> None:
    kept = []

    def forget() -> None:
        with install(), pushed():
            kept.append(Lane())

    with pytest.raises(
        SimViolation, match=r"still allocated: device memory of 768 bytes(.|\n)*IExecutionContext"
    ):
        forget()
