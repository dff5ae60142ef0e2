"""Flags and attributes of pycuda.driver."""

from __future__ import annotations

import enum

from tests.sim.gpus import SimGpu


class host_alloc_flags:  # noqa: N801 - pycuda's name
    """Flags of pagelocked_empty."""

    PORTABLE = 1
    DEVICEMAP = 2
    WRITECOMBINED = 4


class event_flags(enum.IntEnum):  # noqa: N801 - pycuda's name
    """Flags of Event."""

    DEFAULT = 0
    BLOCKING_SYNC = 1
    DISABLE_TIMING = 2
    INTERPROCESS = 4


class ctx_flags(enum.IntEnum):  # noqa: N801 - pycuda's name
    """Flags of make_context."""

    SCHED_AUTO = 0
    SCHED_SPIN = 1
    SCHED_YIELD = 2
    SCHED_BLOCKING_SYNC = 4
    MAP_HOST = 8


class device_attribute(enum.IntEnum):  # noqa: N801 - pycuda's name
    """Attributes of a GPU that the simulator knows."""

    MAX_THREADS_PER_BLOCK = 1
    MAX_BLOCK_DIM_X = 2
    MAX_GRID_DIM_X = 5
    WARP_SIZE = 10
    CLOCK_RATE = 13
    MULTIPROCESSOR_COUNT = 16
    INTEGRATED = 18
    CAN_MAP_HOST_MEMORY = 19
    COMPUTE_MODE = 20
    CONCURRENT_KERNELS = 31
    ECC_ENABLED = 32
    PCI_BUS_ID = 33
    PCI_DEVICE_ID = 34
    ASYNC_ENGINE_COUNT = 40
    UNIFIED_ADDRESSING = 41
    COMPUTE_CAPABILITY_MAJOR = 75
    COMPUTE_CAPABILITY_MINOR = 76
    MEMORY_POOLS_SUPPORTED = 115

    @staticmethod
    def value_of(gpu: SimGpu, attribute: device_attribute) -> int:
        """What a simulated GPU answers."""
        values = {
            device_attribute.MAX_THREADS_PER_BLOCK: 1024,
            device_attribute.MAX_BLOCK_DIM_X: 1024,
            device_attribute.MAX_GRID_DIM_X: 2**31 - 1,
            device_attribute.WARP_SIZE: 32,
            device_attribute.CLOCK_RATE: 2_500_000,
            device_attribute.MULTIPROCESSOR_COUNT: 128,
            device_attribute.INTEGRATED: 0,
            device_attribute.CAN_MAP_HOST_MEMORY: 1,
            device_attribute.COMPUTE_MODE: 0,
            device_attribute.CONCURRENT_KERNELS: 1,
            device_attribute.ECC_ENABLED: 0,
            device_attribute.PCI_BUS_ID: gpu.index + 1,
            device_attribute.PCI_DEVICE_ID: 0,
            device_attribute.ASYNC_ENGINE_COUNT: 2,
            device_attribute.UNIFIED_ADDRESSING: 1,
            device_attribute.COMPUTE_CAPABILITY_MAJOR: gpu.compute_capability[0],
            device_attribute.COMPUTE_CAPABILITY_MINOR: gpu.compute_capability[1],
            device_attribute.MEMORY_POOLS_SUPPORTED: 1,
        }
        return values[device_attribute(attribute)]
