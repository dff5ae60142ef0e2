"""The real bindings, and that they behave as the simulator's stand-ins must."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance import behaviour, real
from tests.conformance.conftest import installed, tensorrt_api

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]  # the first one installs

BEHAVIOUR = Path(behaviour.__file__)


@pytest.mark.parametrize("version", real.TENSORRT)
def test_the_real_bindings_are_of_the_version(version: str) -> None:
    api = tensorrt_api(version)
    assert len(api.classes) > 100
    assert {"Runtime", "ICudaEngine", "IExecutionContext", "Builder", "OnnxParser"} <= api.classes.keys()
    assert ("FP16" in api.classes["BuilderFlag"]) == version.startswith("10.")
    assert ("device_memory_size_v2" in api.classes["ICudaEngine"]) == (version != "10.0")


@pytest.mark.parametrize("version", real.TENSORRT)
def test_the_real_bindings_behave_as_we_rely_on(version: str) -> None:
    library = installed(lambda: real.tensorrt(version))
    failed = library.run(BEHAVIOUR)
    assert not failed, "\n".join(f"{name}: {text}" for name, text in failed.items())


@pytest.mark.parametrize("version", real.TENSORRT)
def test_the_real_bindings_look_callbacks_up_by_these_names(version: str) -> None:
    """Names of methods that they call on our objects are plain strings in them."""
    binary = (installed(lambda: real.tensorrt(version)).folder / "tensorrt_bindings/tensorrt.so").read_bytes()
    for name in ("get_num_errors", "report_error", "reallocate_output_async", "notify_shape", "phase_start"):
        assert f"\0{name}\0".encode() in binary


def test_what_cannot_be_installed_is_skipped_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    def install() -> None:
        raise real.Missing("no network")

    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no network"):
        installed(install)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no network"):
        installed(install)
