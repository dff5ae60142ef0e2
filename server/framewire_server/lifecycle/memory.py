"""Whether a model is likely to fit into the memory that is left."""

from __future__ import annotations

import re
from pathlib import Path

from framewire_server.errors import NotNow

_MIB = 1 << 20
_TIMES = 5
_TIMES_OF_PLAN = 2
_BESIDES_BYTES = 64 * _MIB
_UNLIMITED_BYTES = 1 << 60  # version 1 writes a huge number for none


def likely_bytes(weights_bytes: int, *, plan: bool = False) -> int:
    """What loading a model takes of the host's memory at its peak, judged by the size of its files.

    Measured with ONNX Runtime on a CPU: weights lie in memory five times while a network is read, given its front,
    and handed over (5.0 at 100 and at 300 MB; one copy stays). Besides come the library's own and what is computed:
    32 to 71 MB for detectors of 2 to 13 MB. A plan is read, and unpacked onto the GPU; whether it fits there is
    judged by whoever loads it.
    """
    return (_TIMES_OF_PLAN if plan else _TIMES) * weights_bytes + _BESIDES_BYTES


def check(weights_bytes: int, root: Path = Path("/"), *, plan: bool = False) -> None:
    """Raises NotNow when a model with so many bytes of weights is not likely to fit. Unknown memory fits all."""
    available = available_bytes(root)
    needed = likely_bytes(weights_bytes, plan=plan)
    if available is not None and needed > available:
        raise NotNow(
            f"too little memory: loading it takes about {_mib(needed)}, and {_mib(available)} are available"
        )


def available_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take: of the machine and of each control group that it is in. None when
    nothing is known. `root` is where the file system begins."""
    known = [_of_machine(root), *_of_groups(root)]
    return min((value for value in known if value is not None), default=None)


def _of_machine(root: Path) -> int | None:
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", _read(root / "proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _of_groups(root: Path) -> list[int | None]:
    """What is left in the process's own group and in those around it, which limit it as well."""
    found: list[int | None] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = Path(path.lstrip("/"))
        # In a container the path may be that of the host, of which only the top is to be seen.
        found += [_left(top / group, *names) for group in (own, *own.parents)]
    return found


def _left(group: Path, limit: str, used: str, reclaimable: str) -> int | None:
    limit_bytes, used_bytes = _number(_read(group / limit)), _number(_read(group / used))
    if limit_bytes is None or used_bytes is None or limit_bytes >= _UNLIMITED_BYTES:
        return None
    cached = re.search(rf"^{reclaimable} (\d+)$", _read(group / "memory.stat"), re.MULTILINE)
    return max(limit_bytes - used_bytes + (int(cached[1]) if cached else 0), 0)


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _mib(count: int) -> str:
    return f"{count / _MIB:.0f} MiB"
