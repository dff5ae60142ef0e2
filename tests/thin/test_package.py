"""What the installed package must bring beside modules."""

from __future__ import annotations

from importlib import resources

import pytest


@pytest.mark.parametrize("name", ["prepare.fatbin", "prepare.ptx", "prepare.cu"])
def test_the_compiled_kernel_and_its_source_are_installed(name: str) -> None:
    """A server on a GPU has no compiler."""
    folder = resources.files("framewire_server.engines.tensorrt")
    assert folder.joinpath(name).read_bytes()
