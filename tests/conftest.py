"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """In CI a test that needs a system package must run: its skip is a failure."""
    report = yield
    if report.skipped and item.get_closest_marker("system") and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where it is required: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and photographs that lies beside a developer's checkout."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED} is missing, and CI must have it")
        pytest.skip(f"{SHARED} is missing: real models and photographs are not part of the project")
    return SHARED
