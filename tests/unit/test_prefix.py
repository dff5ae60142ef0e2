"""What stands before a plan is told from the plan itself."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewire_server.engines.tensorrt import prefix

PLAN = b"ftrt\x00\x01plan"
TEXTS = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


@given(st.dictionaries(TEXTS, VALUES), st.binary())
def test_what_was_joined_is_split_again(metadata: dict[str, object], plan: bytes) -> None:
    found, rest = prefix.split(prefix.join(metadata, plan))
    assert found == metadata and bytes(rest) == plan


@given(st.binary(max_size=64))
def test_a_file_without_a_prefix_is_all_plan(content: bytes) -> None:
    found, rest = prefix.split(content)
    assert found is None and bytes(rest) == content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x02\x00\x00\x00",
        b"\x02\x00\x00\x00[]plan",  # JSON, but no object
        b"\x03\x00\x00\x00{]}plan",
        b"\x02\x00\x00\x00{\xff",
        b"\x09\x00\x00\x00{}plan",  # longer than the file
        b"\xff\xff\xff\xff{}",
    ],
)
def test_what_only_looks_like_a_prefix_is_plan(content: bytes) -> None:
    found, rest = prefix.split(content)
    assert found is None and bytes(rest) == content


def test_ultralytics_files_are_read_from_a_map(tmp_path: Path) -> None:
    path = tmp_path / "yolo.engine"
    path.write_bytes(b'\x15\x00\x00\x00{"names":{"0":"cat"}}' + PLAN)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        metadata, plan = prefix.split(content)
        assert metadata == {"names": {"0": "cat"}} and bytes(plan) == PLAN
        plan.release()


def test_a_prefix_that_readers_would_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 67108864"):
        prefix.join({"labels": "x" * (1 << 26)}, PLAN)
