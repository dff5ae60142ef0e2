"""All that our code uses of TensorRT, pycuda and cuda.bindings is there, in every version that we support."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.conformance.api import Api
from tests.conformance.usage import BUILTIN, attributes_in, findings, uses
from tests.conformance.vocabulary import MODULES

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]  # the first one installs
ROOT = Path(__file__).parents[2]
SERVER = ROOT / "server/framewire_server"
ON_GPUS = ROOT / "tests/gpu", ROOT / "bench/gpu"


def modules() -> list[Path]:
    """The files that may touch the libraries: they alone get hold of them."""
    files = [path for folder in (SERVER / "engines/tensorrt", *ON_GPUS) for path in folder.glob("*.py")]
    gets = re.compile(rf"\b({'|'.join(MODULES)})\(\)")
    return sorted({*files, *(path for path in SERVER.rglob("*.py") if gets.search(path.read_text()))})


@pytest.fixture(scope="session")
def known() -> set[str]:
    files = [path for folder in (SERVER, *ON_GPUS) for path in folder.rglob("*.py")]
    return {*BUILTIN, *(name for path in files for name in attributes_in(path.read_text()))}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_module_uses_is_there(
    path: Path, libraries: Mapping[str, Sequence[Api]], known: set[str]
) -> None:
    found = findings(str(path.relative_to(ROOT)), path.read_text(), libraries, known)
    assert not found, "\n".join(found)


def test_the_use_of_all_libraries_is_seen(libraries: Mapping[str, Sequence[Api]], known: set[str]) -> None:
    """Were a library reached in a way that is not followed, nothing of it would be checked."""
    used = {use for path in modules() for use in uses(path.name, path.read_text(), libraries, known)}
    assert {
        ("pycuda.driver", "", "memcpy_htod_async"),
        ("pycuda.driver", "Context", "push"),
        ("pycuda.driver", "Event", "record"),
        ("pycuda.driver", "Function", "__call__"),
        ("tensorrt", "Runtime", "deserialize_cuda_engine"),
        ("tensorrt", "IExecutionContext", "execute_async_v3"),
        ("tensorrt", "IExecutionContext", "set_tensor_address"),
        ("tensorrt", "Builder", "build_serialized_network"),
        ("tensorrt", "IBuilderConfig", "progress_monitor"),
        ("cuda.bindings.driver", "", "cuGraphLaunch"),
        ("nvidia.nvimgcodec", "Decoder", "decode"),
    } <= used
    assert len(used) > 100
