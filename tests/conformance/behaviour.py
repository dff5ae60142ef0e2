"""How things of TensorRT behave that need no library, each a check that raises when they behave otherwise.

The same checks run on the simulator's stand-ins and, in a process of their own, on the real bindings.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np


def raises(kind: type[Exception], do: Callable[[], object]) -> None:
    """Raises AssertionError unless `do` raises an exception of that kind."""
    try:
        result = do()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was expected, but the result is {result!r}")


def check_dims_are_tuples_in_all_but_name(trt: Any) -> None:
    dims = trt.Dims((1, 3, -1))
    assert tuple(dims) == (1, 3, -1) and list(dims) == [1, 3, -1]
    assert len(dims) == 3 and dims[0] == 1 and dims[-1] == -1
    assert not isinstance(dims, tuple)
    assert len(trt.Dims()) == 0 and tuple(trt.Dims()) == ()
    assert repr(dims) == "(1, 3, -1)"


def check_dims_equal_tuples_and_lists(trt: Any) -> None:
    dims = trt.Dims((1, 3))
    assert dims == (1, 3) and dims == [1, 3]
    assert not dims == (1, 4)  # noqa: SIM201  # the operator that is there
    raises(TypeError, lambda: dims == trt.Dims((1, 3)))
    raises(TypeError, lambda: dims == 3)


def check_dims_have_no_hash(trt: Any) -> None:
    raises(TypeError, lambda: hash(trt.Dims((1, 3))))
    raises(TypeError, lambda: {trt.Dims((1, 3)): 1})


def check_dims_take_whole_numbers(trt: Any) -> None:
    raises(TypeError, lambda: trt.Dims((1.5, 3)))
    raises(TypeError, lambda: trt.Dims("12"))
    assert tuple(trt.Dims(np.array([2, 3]))) == (2, 3)
    raises(Exception, lambda: trt.Dims(range(9)))
    assert trt.Dims.MAX_DIMS == 8


def check_dims_out_of_bounds(trt: Any) -> None:
    raises(IndexError, lambda: trt.Dims((1, 3))[2])


def check_nptype(trt: Any) -> None:
    expected = {
        "FLOAT": np.float32,
        "HALF": np.float16,
        "INT8": np.int8,
        "INT32": np.int32,
        "INT64": np.int64,
    }
    for name, dtype in (expected | {"BOOL": np.bool_, "UINT8": np.uint8}).items():
        assert np.dtype(trt.nptype(getattr(trt.DataType, name))) == np.dtype(dtype), name
    for other in (trt.DataType.BF16, trt.DataType.FP8, trt.DataType.INT4):
        raises(TypeError, partial(trt.nptype, other))


def check_itemsize(trt: Any) -> None:
    expected = {
        "FLOAT": 4,
        "HALF": 2,
        "BF16": 2,
        "INT8": 1,
        "INT32": 4,
        "INT64": 8,
        "BOOL": 1,
        "UINT8": 1,
        "FP8": 1,
    }
    for name, size in (expected | {"INT4": 0.5}).items():
        assert getattr(trt.DataType, name).itemsize == size, name


def check_aliases_of_data_types(trt: Any) -> None:
    assert trt.float32 == trt.DataType.FLOAT and trt.float16 == trt.DataType.HALF
    assert (
        trt.int64 == trt.DataType.INT64 and trt.bool == trt.DataType.BOOL and trt.uint8 == trt.DataType.UINT8
    )


def check_volume(trt: Any) -> None:
    assert trt.volume((2, 3, 4)) == 24
    assert trt.volume(trt.Dims((2, 3))) == 6
    assert trt.volume(()) == 1
    assert trt.volume((-1, 3)) == -3


def check_enumerations_count_as_numbers_only_by_int(trt: Any) -> None:
    flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert 1 << int(flag) == 2 ** int(flag)
    assert int(trt.BuilderFlag.TF32) == trt.BuilderFlag.TF32.value
    raises(TypeError, lambda: 1 << flag)
    raises(TypeError, lambda: flag | flag)
    raises(TypeError, lambda: flag + 1)


def check_enumerations_compare_with_their_own_kind(trt: Any) -> None:
    assert trt.TensorIOMode.INPUT == trt.TensorIOMode.INPUT
    assert trt.TensorIOMode.INPUT != trt.TensorIOMode.OUTPUT
    assert trt.TensorIOMode.INPUT != trt.TensorLocation.HOST
    assert not int(trt.TensorIOMode.INPUT) == trt.TensorIOMode.INPUT  # noqa: SIM201
    raises(TypeError, lambda: trt.TensorIOMode.INPUT < trt.TensorIOMode.OUTPUT)


def check_enumerations_are_keys(trt: Any) -> None:
    assert {trt.DataType.FLOAT: "float32"}[trt.DataType(int(trt.DataType.FLOAT))] == "float32"


def check_enumerations_tell_their_names(trt: Any) -> None:
    assert trt.DataType.HALF.name == "HALF"
    assert str(trt.DataType.HALF) == "DataType.HALF"
    assert trt.DataType.__members__["HALF"] == trt.DataType.HALF
    assert trt.ILogger.Severity.WARNING.name == "WARNING"


def check_enumerations_are_no_containers(trt: Any) -> None:
    raises(TypeError, lambda: trt.DataType["HALF"])
    raises(TypeError, lambda: iter(trt.DataType))
    raises(TypeError, lambda: len(trt.DataType))
    raises(Exception, lambda: trt.DataType("HALF"))


def check_severities_are_members_of_loggers(trt: Any) -> None:
    assert trt.Logger.WARNING == trt.ILogger.Severity.WARNING == trt.Logger.Severity.WARNING
    assert [int(getattr(trt.Logger, name)) for name in ("INTERNAL_ERROR", "ERROR", "INFO")] == [0, 1, 3]
    assert trt.Logger(trt.Logger.ERROR).min_severity == trt.Logger.ERROR
    assert trt.Logger().min_severity == trt.Logger.WARNING


def check_a_subclass_calls_the_constructor_of_its_interface(trt: Any) -> None:
    for name in ("ILogger", "IProgressMonitor", "IOutputAllocator", "IErrorRecorder"):
        _check_subclasses(getattr(trt, name))


def _check_subclasses(interface: Any) -> None:
    class Silent(interface):  # type: ignore[misc]
        def __init__(self) -> None: ...

    class Proper(interface):  # type: ignore[misc]
        def __init__(self) -> None:
            interface.__init__(self)
            self.kept = "of our own"

    class Super(interface):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

    raises(TypeError, Silent)
    assert Proper().kept == "of our own"
    assert isinstance(Super(), interface)


def check_a_logger_must_be_one(trt: Any) -> None:
    raises(TypeError, lambda: trt.Runtime(None))
    raises(TypeError, lambda: trt.Runtime(logger=object()))
    raises(TypeError, lambda: trt.Builder())


def check_what_only_the_library_makes(trt: Any) -> None:
    for name in (
        "ICudaEngine",
        "IExecutionContext",
        "INetworkDefinition",
        "IBuilderConfig",
        "IOptimizationProfile",
    ):
        raises(TypeError, getattr(trt, name))


CHECKS = {
    name.removeprefix("check_"): check for name, check in list(vars().items()) if name.startswith("check_")
}


def failures(trt: Any) -> dict[str, str]:
    """Runs all checks. Returns what those that fail say, by name."""
    found = {}
    for name, check in CHECKS.items():
        try:
            check(trt)
        except Exception:
            found[name] = traceback.format_exc()
    return found


if __name__ == "__main__":
    json.dump(failures(importlib.import_module(sys.argv[1])), sys.stdout)
