"""What the scripts that build images take from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from archive import Image, write_archive, write_rootfs
from image_files import ImageFiles


def build(image: Image, layers: Callable[[list[str]], list[ImageFiles]], what: str | None) -> int:
    """Write an image to where the command line says, and tell its id."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the tar archive to write")
    parser.add_argument("--with", dest="others", action="append", default=[], help="another distribution")
    parser.add_argument("--rootfs", action="store_true", help="write the files alone: for FROM scratch, runc or tar")
    arguments = parser.parse_args()
    found = layers(arguments.others)
    for layer in found:
        layer.compile()
    with arguments.out.open("wb") as target:
        if arguments.rootfs:
            write_rootfs(found, target)
        else:
            print(write_archive(image, found, target))
    return 0
