"""Runs the command `framewire` on a simulated machine: python -m tests.sim [--gpus N] [--personality P] serve ..."""

from __future__ import annotations

import argparse
import sys

from framewire_server.__main__ import main
from tests.sim.installation import install
from tests.sim.personalities import PERSONALITIES
from tests.sim.violations import SimViolation


def run() -> None:
    """Runs the command; leaves with its code, or with what the simulator found wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--personality", choices=sorted(PERSONALITIES), default="11.4")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    sys.argv = ["framewire", *arguments.command]
    code: object = 0
    try:
        with install(arguments.personality, gpus=arguments.gpus):
            try:
                main()
            except SystemExit as leaving:
                code = leaving.code
    except SimViolation as violation:
        sys.exit(str(violation))
    sys.exit(code)  # type: ignore[arg-type]


if __name__ == "__main__":
    run()
