"""The real libraries for the tests of conformance: installed once, described once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

from tests.conformance import boost, real
from tests.conformance.api import Api
from tests.conformance.vocabulary import CODEC, CUDA, PYCUDA, TENSORRT

DESCRIBE = Path(__file__).with_name("describe.py")
_T = TypeVar("_T")


def installed(install: Callable[[], _T]) -> _T:
    """Returns what is installed; skips the test where that is impossible, and fails it in CI."""
    try:
        return install()
    except real.Missing as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have it: {missing}")
        pytest.skip(str(missing))


@cache
def tensorrt_api(version: str) -> Api:
    """Returns what a version of TensorRT offers."""
    return Api.of(f"tensorrt {version}", installed(lambda: real.tensorrt(version)).run(DESCRIBE))


@cache
def cuda_api() -> Api:
    """Returns what cuda.bindings.driver offers."""
    return Api.of(real.CUDA[0], installed(real.cuda_bindings).run(DESCRIBE))


@cache
def pycuda_api() -> Api:
    """Returns what pycuda.driver offers."""
    return boost.describe(installed(real.pycuda_source))


@cache
def codec_api() -> Api:
    """Returns what nvidia.nvimgcodec offers."""
    return Api.of(CODEC, installed(real.nvimgcodec).run(DESCRIBE))


@pytest.fixture(scope="session")
def libraries() -> Mapping[str, Sequence[Api]]:
    """All versions of each library, oldest first."""
    return {
        TENSORRT: [tensorrt_api(version) for version in real.TENSORRT],
        PYCUDA: [pycuda_api()],
        CUDA: [cuda_api()],
        CODEC: [codec_api()],
    }
