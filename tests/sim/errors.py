"""Errors of the CUDA driver: numbers, names and the driver's own words."""

from __future__ import annotations

INVALID_VALUE = 1
OUT_OF_MEMORY = 2
NOT_INITIALIZED = 3
NO_DEVICE = 100
INVALID_DEVICE = 101
INVALID_IMAGE = 200
INVALID_CONTEXT = 201
NO_BINARY_FOR_GPU = 209
UNSUPPORTED_PTX_VERSION = 222
INVALID_HANDLE = 400
ILLEGAL_STATE = 401
NOT_FOUND = 500
NOT_READY = 600
ILLEGAL_ADDRESS = 700
LAUNCH_OUT_OF_RESOURCES = 701
LAUNCH_FAILED = 719
SYSTEM_DRIVER_MISMATCH = 803
STREAM_CAPTURE_UNSUPPORTED = 900
STREAM_CAPTURE_INVALIDATED = 901
STREAM_CAPTURE_UNMATCHED = 903
CAPTURED_EVENT = 907
STREAM_CAPTURE_WRONG_THREAD = 908
UNKNOWN = 999

TEXTS = {
    INVALID_VALUE: "invalid argument",
    OUT_OF_MEMORY: "out of memory",
    NOT_INITIALIZED: "initialization error",
    NO_DEVICE: "no CUDA-capable device is detected",
    INVALID_DEVICE: "invalid device ordinal",
    INVALID_IMAGE: "device kernel image is invalid",
    INVALID_CONTEXT: "invalid device context",
    NO_BINARY_FOR_GPU: "no kernel image is available for execution on the device",
    UNSUPPORTED_PTX_VERSION: "the provided PTX was compiled with an unsupported toolchain.",
    INVALID_HANDLE: "invalid resource handle",
    ILLEGAL_STATE: "the operation cannot be performed in the present state",
    NOT_FOUND: "named symbol not found",
    NOT_READY: "device not ready",
    ILLEGAL_ADDRESS: "an illegal memory access was encountered",
    LAUNCH_OUT_OF_RESOURCES: "too many resources requested for launch",
    LAUNCH_FAILED: "unspecified launch failure",
    SYSTEM_DRIVER_MISMATCH: "system has unsupported display driver / cuda driver combination",
    STREAM_CAPTURE_UNSUPPORTED: "operation not permitted when stream is capturing",
    STREAM_CAPTURE_INVALIDATED: "operation failed due to a previous error during capture",
    STREAM_CAPTURE_UNMATCHED: "the capture was not initiated in this stream",
    CAPTURED_EVENT: "operation not permitted on an event last recorded in a capturing stream",
    STREAM_CAPTURE_WRONG_THREAD: "attempt to terminate a thread-local capture sequence from another thread",
    UNKNOWN: "unknown error",
}


class CudaFailure(Exception):
    """A call of the driver failed. The fakes turn it into what their library raises or returns."""

    def __init__(self, call: str, code: int, more: str = "") -> None:
        self.call, self.code = call, code
        super().__init__(f"{call} failed: {TEXTS[code]}" + (f" - {more}" if more else ""))
