"""What may go wrong without anybody's mistake: each library says so in its own way."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

import numpy as np
import pytest

from tests.sim import SimGpu, Simulation, install, plans
from tests.sim.programs import DOUBLING, Lane, Listener, build, doubling, elsewhere, lane, pushed


def test_a_plan_that_is_refused_is_none_and_a_line_in_the_log(sim: Simulation) -> None:
    import tensorrt as trt

    with pushed():
        listener = Listener()
        plan = bytes(build(doubling(), DOUBLING, logger=listener.logger))
        runtime = trt.Runtime(listener.logger)
        sim.faults.plant("deserialise", log="the plan is of another planet")
        assert runtime.deserialize_cuda_engine(plan) is None
        assert listener.heard[-1] == "ERROR: the plan is of another planet"
        for wrong, why in (
            (b"nonsense", "magicTag does not match"),
            (plan[:-1], "truncated"),
            (plan[:40], "truncated"),
        ):
            assert runtime.deserialize_cuda_engine(wrong) is None
            assert why in listener.heard[-1]
        assert runtime.deserialize_cuda_engine(memoryview(plan)) is not None


def test_a_plan_runs_where_it_was_built() -> None:
    listener_of: list[str] = []

    def bring(plan: bytes, personality: str, gpu: SimGpu) -> bool:
        with install(personality, gpus=[gpu]), pushed():
            import tensorrt as trt

            listener = Listener()
            found = trt.Runtime(listener.logger).deserialize_cuda_engine(plan) is not None
            listener_of[:] = listener.heard or [""]
            return found

    with install("10.16"), pushed():
        plan = bytes(build(doubling(), DOUBLING, logger=Listener().logger))
    assert bring(plan, "10.16", SimGpu(0))
    assert not bring(plan, "11.4", SimGpu(0))
    assert "expecting library version 11.4.0.106 got 10.16.1.11, please rebuild" in listener_of[-1]
    assert not bring(plan, "10.16", SimGpu(0, compute_capability=(9, 0)))
    assert "expecting compute 9.0 got compute 8.9, please rebuild" in listener_of[-1]
    assert bring(plan, "10.16", SimGpu(0, "Simulated L4"))
    assert "different models of devices" in listener_of[-1]


def test_compatible_plans_run_elsewhere() -> None:
    spec = plans.PlanSpec((10, 16, 1, 11), "any", (8, 6), version_compatible=True, hardware_compatible=True)
    assert plans.refusal(spec, (11, 4, 0, 106), (9, 0)) is None
    assert plans.refusal(spec, (10, 0, 1, 0), (9, 0)) is not None
    assert plans.refusal(spec, (11, 4, 0, 106), (7, 5)) is not None
    assert plans.decode(plans.encode(spec, b"network")) == (spec, b"network")


def test_a_context_for_which_there_is_no_memory_is_none(sim: Simulation) -> None:
    with lane() as made:
        sim.faults.plant("context", nth=2)
        second = made.engine.create_execution_context()
        assert second is not None
        assert made.engine.create_execution_context() is None
        assert made.listener.heard[-1].startswith(
            "ERROR: IExecutionContext: Error Code 1: Cuda Runtime (out of memory"
        )
        sim.gpus[0].foreign_bytes = made.cuda.mem_get_info()[0]
        assert made.cuda.mem_get_info()[0] == 0
        assert made.engine.create_execution_context() is None
        with pytest.raises(made.cuda.MemoryError, match="cuMemAlloc failed: out of memory"):
            made.cuda.mem_alloc(1)
        del second


@pytest.mark.parametrize(("point", "call"), [("allocate", "cuMemAlloc"), ("pin", "cuMemHostAlloc")])
def test_memory_runs_out_at_the_nth_call(sim: Simulation, point: str, call: str) -> None:
    with pushed() as cuda:
        allocate: Callable[[], object] = {
            "allocate": lambda: cuda.mem_alloc(16),
            "pin": lambda: cuda.pagelocked_empty(16, np.uint8),
        }[point]
        sim.faults.plant(point, nth=2, times=2)
        kept = [allocate()]
        for _ in range(2):
            with pytest.raises(cuda.MemoryError, match=f"{call} failed: out of memory"):
                allocate()
        kept.append(allocate())
        del kept


def test_an_enqueue_that_fails_is_false(sim: Simulation) -> None:
    with lane() as made:
        made.shape()
        sim.faults.plant("enqueue", log="Error Code 1: Cuda Runtime (misaligned address)")
        assert made.context.execute_async_v3(made.stream.handle) is False
        assert made.listener.heard == ["ERROR: Error Code 1: Cuda Runtime (misaligned address)"]
        made.host_in[:] = 1
        assert (made.run() == 2).all()


def test_runtime_and_builder_may_not_come_up(sim: Simulation) -> None:
    import tensorrt as trt

    logger = Listener().logger
    for point, kind in (("runtime", trt.Runtime), ("builder", trt.Builder)):
        sim.faults.plant(point)
        with pytest.raises(TypeError, match="factory function returned nullptr"):
            kind(logger)
        with pytest.raises(TypeError, match="incompatible constructor arguments"):
            kind("no logger")


def test_what_is_left_on_a_broken_gpu_may_go_on_any_thread() -> None:
    with install() as sim, lane() as made:
        events = [made.cuda.Event()]
        made.shape()
        sim.faults.break_gpu(700)
        made.enqueue()
        with pytest.raises(made.cuda.LogicError, match="an illegal memory access"):
            made.stream.synchronize()
        elsewhere(events.clear)


def test_an_error_that_sticks_ends_everything_on_its_gpu() -> None:
    with install(gpus=2) as sim, lane(gpu=1) as healthy:
        with lane(gpu=0) as made:
            event = made.cuda.Event()
            made.shape()
            sim.faults.break_gpu(700)
            made.enqueue()
            for _ in range(2):
                with pytest.raises(
                    made.cuda.LogicError, match="cuStreamSynchronize failed: an illegal memory access"
                ):
                    made.stream.synchronize()
            for call in (
                made.cuda.Context.synchronize,
                lambda: made.cuda.mem_alloc(16),
                made.cuda.mem_get_info,
            ):
                with pytest.raises(made.cuda.LogicError, match="an illegal memory access was encountered"):
                    call()
            with pytest.raises(made.cuda.LogicError, match="cuEventRecord failed: an illegal memory access"):
                event.record(made.stream)
            with pytest.raises(
                made.cuda.LogicError, match="cuEventSynchronize failed: an illegal memory access"
            ):
                event.synchronize()
            assert made.context.execute_async_v3(made.stream.handle) is False
        made.cuda.Context.get_current()
        healthy.cuda.Context.push(healthy.cuda.Device(1).retain_primary_context())
        healthy.host_in[:] = 1
        assert (healthy.run() == 2).all()
        healthy.cuda.Context.pop()


def test_a_gpu_may_hang(sim: Simulation) -> None:
    with lane() as made:
        hang = sim.faults.hang()
        made.host_in[:] = 1
        made.shape()
        made.enqueue()
        assert not made.stream.is_done()  # the copy
        assert not made.stream.is_done()  # and then nothing

        def release() -> None:
            assert hang.reached.wait(10)
            hang.release()

        import threading

        releaser = threading.Thread(target=release)
        releaser.start()
        made.stream.synchronize()
        releaser.join()
        assert (made.host_out == 2).all()


def test_cu_init_may_fail() -> None:
    for code, kind, text in (
        (100, "RuntimeError", "cuInit failed: no CUDA-capable device is detected"),
        (803, "LogicError", "cuInit failed: system has unsupported display driver / cuda driver combination"),
    ):
        with install(cu_init=code):
            import pycuda.driver as cuda
            import tensorrt as trt

            with pytest.raises(getattr(cuda, kind), match=text):
                cuda.init()
            with pytest.raises(TypeError, match="nullptr"):
                trt.Runtime(Listener().logger)
    with install(gpus=0):
        import pycuda.driver as cuda

        with pytest.raises(cuda.RuntimeError, match="no CUDA-capable device"):
            cuda.init()


def test_a_driver_that_was_not_initialised_does_nothing(sim: Simulation) -> None:
    import pycuda.driver as cuda

    with pytest.raises(cuda.LogicError, match="cuDeviceGet failed: initialization error"):
        cuda.Device(0)
    cuda.init()
    with pytest.raises(cuda.LogicError, match="cuDeviceGet failed: invalid device ordinal"):
        cuda.Device(1)
    assert cuda.Device("0000:01:00.0") == cuda.Device(0)


def test_a_thread_without_a_context_is_told_in_the_drivers_words(sim: Simulation) -> None:
    with pushed() as cuda:

        def there() -> None:
            none = "explicit_context_dependent failed: invalid device context - no currently active context"
            calls: dict[str, Callable[[], object]] = {
                "cuMemAlloc failed: invalid device context": lambda: cuda.mem_alloc(16),
                "cuMemHostAlloc failed: invalid device context": lambda: cuda.pagelocked_empty(16, np.uint8),
                none: lambda: cuda.Stream(1),
                none[:-1]: lambda: cuda.Event(),
                "context::pop failed: invalid device context - cannot pop": lambda: cuda.Context.pop(),
            }
            for text, call in calls.items():
                with pytest.raises(cuda.LogicError, match=text):
                    call()

        elsewhere(there)


def test_double_free_and_wrong_buffers_are_told(sim: Simulation) -> None:
    with pushed() as cuda:
        memory = cuda.mem_alloc(64)
        with pytest.raises(ValueError, match="contiguous"):
            cuda.memcpy_htod(memory, np.zeros((4, 4), np.float32)[:, ::2])
        fixed = np.zeros(64, np.uint8)
        fixed.flags.writeable = False
        with pytest.raises(BufferError):
            cuda.memcpy_dtoh(fixed, memory)
        address = int(memory)
        memory.free()
        assert int(memory) == address
        with pytest.raises(cuda.LogicError, match="device_allocation::free failed: invalid resource handle"):
            memory.free()


@pytest.mark.parametrize(
    ("modes", "name", "kind", "text"),
    [
        ({"tensorrt": "missing"}, "tensorrt", ModuleNotFoundError, "No module named 'tensorrt'"),
        (
            {"tensorrt": "no-library"},
            "tensorrt",
            ImportError,
            "libnvinfer.so.11: cannot open shared object file",
        ),
        ({"pycuda": "missing"}, "pycuda.driver", ModuleNotFoundError, "No module named 'pycuda'"),
        (
            {"pycuda": "no-library"},
            "pycuda.driver",
            ImportError,
            "libcuda.so.1: cannot open shared object file",
        ),
        ({"cuda_bindings": "missing"}, "cuda.bindings.driver", ModuleNotFoundError, "No module named 'cuda'"),
    ],
)
def test_libraries_may_be_missing(
    modes: dict[str, str], name: str, kind: type[ImportError], text: str
) -> None:
    with install(**modes):  # type: ignore[arg-type]
        with pytest.raises(kind, match=text):
            importlib.import_module(name)
        if modes.get("pycuda") == "no-library":
            assert (
                importlib.import_module("pycuda").VERSION_TEXT == "2026.1"
            )  # only the driver's part is missing


def test_the_simulator_leaves_nothing_behind() -> None:
    before = importlib.util.find_spec("tensorrt")
    with install():
        assert importlib.util.find_spec("tensorrt") is not None
        assert importlib.util.find_spec("pycuda.driver") is not None
    assert (importlib.util.find_spec("tensorrt") is None) == (before is None)


def test_a_second_logger_is_not_used(sim: Simulation) -> None:
    import tensorrt as trt

    first, second = Listener(), Listener()
    trt.Runtime(first.logger)
    trt.Runtime(second.logger)
    assert "differs from one already registered" in first.heard[-1] and not second.heard

    class Careless(trt.ILogger):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            pass

    with pytest.raises(TypeError, match=r"ILogger.__init__\(\) must be called when overriding __init__"):
        Careless()


def test_a_recorder_hears_of_errors(sim: Simulation) -> None:
    import tensorrt as trt

    heard: list[tuple[str, str]] = []

    class Recorder(trt.IErrorRecorder):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)

        def get_num_errors(self) -> int:
            return len(heard)

        def report_error(self, code: trt.ErrorCodeTRT, text: str) -> bool:
            heard.append((code.name, text))
            return True

    def fail(made: Lane) -> None:
        made.context.error_recorder = made.engine.error_recorder = Recorder()
        assert made.context.set_input_shape("z", (1,)) is False

    with lane() as made:
        fail(made)
    assert heard[0][0] == "INVALID_ARGUMENT" and "invalid tensor name: z" in heard[0][1]
