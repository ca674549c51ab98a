"""Build the image that plugins run in, from this environment and without a registry.

``python deploy/images/plugin_runner.py plugin-runner.tar`` writes what ``docker load`` and ``podman load`` take, and
says the image's id, which is the same wherever the same files are. A policy pins it: ``sandbox: {image: sha256:…}``.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from archive import Image
from image_files import USER, ImageFiles, labels, required
from image_script import build

_SDK = "dativo-plugin-sdk"
_NEEDED = (_SDK, "numpy")
_INSIDE = Path(__file__).parents[2] / "src/dativo_ingest/sandbox/inside"


def layers(others: list[str]) -> list[ImageFiles]:
    """Give what seldom changes, then what is ours.

    Args:
        others: Distributions that plugins get beside what the SDK requires.
    """
    below, above = ImageFiles(), ImageFiles()
    below.add_python()
    for name in sorted(required(*_NEEDED, *others) - {_SDK}):
        below.add_distribution(name)
    below.add_libraries()
    above.add_distribution(_SDK)
    above.add_tree(_INSIDE, "run/dativo/inside")
    return [below, above]


def image() -> Image:
    """Say what the image is."""
    return Image(
        f"dativo/plugin-runner:{version(_SDK)}",
        {
            "User": f"{USER}:{USER}",
            "WorkingDir": "/job",
            "Env": ["PATH=/usr/local/bin", "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"],
            "Labels": {"io.dativo.plugin-runner": "1", **labels()},
        },
    )


if __name__ == "__main__":
    sys.exit(build(image(), layers, __doc__))
