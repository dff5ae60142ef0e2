"""The command `framewire`."""

from __future__ import annotations

import os
import sys

# gRPC's own lines on the standard error say nothing to an operator that our messages do not.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def main() -> None:
    """Runs the command line, or says how to install it."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError:
        sys.exit(
            "The command needs an extra: pip install 'framewire[cli]', or in a checkout pip install '.[cli]' ([server] "
            "includes it)"
        )
    from framewire_server.cli.app import app
    from framewire_server.threads import run_command

    run_command(lambda: app(prog_name="framewire"))


if __name__ == "__main__":
    main()
