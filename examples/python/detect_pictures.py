"""Prints what is in pictures, one line each; a folder stands for the pictures in it.

python examples/python/detect_pictures.py street.jpg photos/ --server localhost:50051
"""

import argparse
import sys

from framewire import Client, FrameResult, FramewireError


def describe(result: FrameResult) -> str:
    """What became of a picture. One that was not answered is not an empty one: nobody looked at it."""
    if not result.ok:
        return f"{result.outcome}: {result.reason} {result.message}".rstrip()
    return ", ".join(f"{found.label} {found.score:.2f}" for found in result.detections) or "nothing found"


def main() -> int:
    """Returns the exit status: 1 when a picture was not answered."""
    parser = argparse.ArgumentParser(description="Prints what is in pictures.")
    parser.add_argument("sources", nargs="+", metavar="PICTURE|FOLDER")
    parser.add_argument("--server", default="localhost:50051", metavar="HOST:PORT")
    arguments = parser.parse_args()
    unanswered = 0
    with Client(arguments.server) as client:
        for source in arguments.sources:
            for result in client.stream(source):
                print(f"{result.tag}: {describe(result)}")
                unanswered += not result.ok
    return 1 if unanswered else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FramewireError as error:  # no server, no such file: nothing more will come
        sys.exit(f"detect_pictures: {error}")
