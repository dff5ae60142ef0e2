"""The compiled kernel that is shipped is that of its source."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / "server/framewire_server/engines/tensorrt"


def test_the_images_were_built_from_the_source() -> None:
    """Whoever changes prepare.cu runs `make kernel`, which writes down what it built from what."""
    lines = (KERNEL / "prepare.sha256").read_text().splitlines()
    listed = {name: digest for digest, name in map(str.split, lines)}
    found = {name: hashlib.sha256((KERNEL / name).read_bytes()).hexdigest() for name in listed}
    assert found == listed
    assert set(listed) == {"prepare.cu", "prepare.fatbin", "prepare.ptx"}


def test_the_ptx_asks_for_no_new_driver() -> None:
    assert ".version 6.4\n.target sm_75\n" in (KERNEL / "prepare.ptx").read_text()


def test_the_images_are_what_the_compiler_makes(tmp_path: Path) -> None:
    """With the compiler that built them; another's code is as right, but differs."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc here: the images are compared with the digest of their source alone")
    version = re.search(r"V[\d.]+", subprocess.check_output([nvcc, "--version"], text=True))
    assert version is not None
    if f"{version[0]}\n" not in (KERNEL / "prepare.ptx").read_text():
        pytest.skip(f"the images were built by another nvcc than the one here, {version[0]}")
    folder = tmp_path / "kernel"
    folder.mkdir()
    shutil.copy(KERNEL / "prepare.cu", folder)
    command = ["make", "--no-print-directory", "kernel", f"KERNEL={folder}/prepare"]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"NVCC": nvcc}, check=True, capture_output=True)
    assert (folder / "prepare.sha256").read_text() == (KERNEL / "prepare.sha256").read_text()
