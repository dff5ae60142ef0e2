"""How much memory a process may still take, by what the kernel writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from framewire_server.errors import ModelError
from framewire_server.lifecycle import memory

MIB = 1 << 20


def put(root: Path, **contents: str) -> None:
    for name, text in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path, proc__meminfo="MemTotal:       24684188 kB\nMemFree: 5 kB\nMemAvailable:    1048576 kB\n")
    return tmp_path


def files(root: Path, group: str, **contents: str) -> None:
    for name, text in contents.items():
        path = root / "sys/fs/cgroup" / group / name.replace("_", ".", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_machine_alone(root: Path) -> None:
    assert memory.available_bytes(root) == 1024 * MIB


def test_nothing_known_is_unknown(tmp_path: Path) -> None:
    assert memory.available_bytes(tmp_path) is None
    memory.check(1 << 50, tmp_path)


def test_a_group_of_version_2_limits_and_its_cache_can_be_had_back(root: Path) -> None:
    put(root, proc__self__cgroup="0::/serving/framewire\n")
    stat = f"anon 5\ninactive_file {30 * MIB}\nactive_file 7\n"
    files(
        root,
        "serving/framewire",
        memory_max=f"{200 * MIB}\n",
        memory_current=f"{150 * MIB}\n",
        memory_stat=stat,
    )
    assert memory.available_bytes(root) == 80 * MIB


def test_the_tightest_of_the_groups_around_counts(root: Path) -> None:
    put(root, proc__self__cgroup="0::/serving/framewire\n")
    files(root, "serving/framewire", memory_max="max\n", memory_current="5\n")
    files(root, "serving", memory_max=f"{90 * MIB}\n", memory_current=f"{20 * MIB}\n")
    assert memory.available_bytes(root) == 70 * MIB


def test_in_a_container_the_top_is_all_that_is_seen(root: Path) -> None:
    put(root, proc__self__cgroup="0::/../../kubepods/pod7\n")
    files(root, "", memory_max=f"{60 * MIB}\n", memory_current=f"{70 * MIB}\n")
    assert memory.available_bytes(root) == 0


def test_a_group_of_version_1_limits(root: Path) -> None:
    put(root, proc__self__cgroup="5:cpu,cpuacct:/x\n4:memory:/docker/7\n0::/docker/7\n")
    stat = f"inactive_file 1\ntotal_inactive_file {10 * MIB}\n"
    group = root / "sys/fs/cgroup/memory/docker/7"
    put(group, **{"memory.limit_in_bytes": f"{100 * MIB}", "memory.usage_in_bytes": f"{40 * MIB}"})
    put(group, **{"memory.stat": stat})
    assert memory.available_bytes(root) == 70 * MIB
    put(group, **{"memory.limit_in_bytes": "9223372036854771712\n"})  # what it writes for none
    assert memory.available_bytes(root) == 1024 * MIB


def test_what_is_too_large_is_refused_with_both_numbers(root: Path) -> None:
    memory.check(190 * MIB, root)
    with pytest.raises(ModelError, match="takes about 1064 MiB, and 1024 MiB are available"):
        memory.check(200 * MIB, root)


def test_here_it_is_known() -> None:
    found = memory.available_bytes()
    assert found is None or found > MIB
