"""Measures the GPU's limits, part by part: python -m bench.gpu --output FOLDER [--only PART ...]

Needs CUDA and pycuda, no TensorRT; nvimgcodec and cuda-bindings where they are there. Every part is a process with a
time limit of its own; what one cannot do is said, and the others go on. Logs and rows are files in the folder; a short
table comes last. At most six minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from bench.gpu.table import Row, read, text
from bench.load import ROOT

PARTS = {"kernel": 60, "replay": 30, "decoding": 75, "serving": 200, "tensorrt": 90}
"""The parts, each a module of this package, and how many seconds each may take."""
_MOST_S = 360.0


def main() -> int:
    """Prints the table; returns 1 when a part found nothing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    end_at, failed = time.monotonic() + _MOST_S, False
    for part in options.only:
        found, trouble = _run(part, options.output, min(PARTS[part], end_at - time.monotonic()))
        rows += [Row(f"[{part}]", "", trouble), *found]
        failed |= bool(trouble)
    table = text(rows)
    (options.output / "table.txt").write_text(table + "\n", encoding="utf-8")
    print(f"\n{table}")
    return int(failed)


def _run(part: str, folder: Path, most_s: float) -> tuple[list[Row], str]:
    """The rows of a part, and why it did not end well, if so."""
    file, log = folder / f"{part}.rows", folder / f"{part}.log"
    file.unlink(missing_ok=True)
    print(f"{part}: {most_s:.0f} s at most", flush=True)
    begin = time.monotonic()
    with log.open("w") as output:
        command = [sys.executable, "-u", "-m", f"bench.gpu.{part}", str(file)]
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True
        )
        try:
            code = process.wait(max(most_s, 0.0))
        except subprocess.TimeoutExpired:
            _end(process)
            return read(file), f"was ended after {time.monotonic() - begin:.0f} s; see {log.name}"
    said = log.read_text(errors="replace").strip().splitlines()
    trouble = f"ended with {code}: {said[-1] if said else 'it said nothing'}" if code else ""
    return read(file), trouble


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a part and what it started."""
    import psutil

    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for each in family:
        each.kill()
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
