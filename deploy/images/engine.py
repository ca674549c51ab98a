"""Build the image of Dativo itself, from this environment and without a registry.

``python deploy/images/engine.py engine.tar`` writes what ``docker load`` and ``podman load`` take, and says the image's
id. It has no shell; ``docker run IMAGE run /jobs/orders.yaml`` runs a job as a user without rights.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

from archive import Image
from image_files import SITE, USER, ImageFiles, required
from image_script import build

_OURS = frozenset({"dativo-ingest", "dativo-plugin-sdk"})
_WITH = "dativo-ingest[delta,s3,postgres,mysql,container]"


def layers(others: list[str]) -> list[ImageFiles]:
    """Give what seldom changes, then what is ours.

    Args:
        others: Distributions beside what Dativo requires: plugins, say.
    """
    below, above = ImageFiles(), ImageFiles()
    below.add_python()
    for name in sorted(required(_WITH, *others) - _OURS):
        below.add_distribution(name)
    below.add_libraries()
    for name in sorted(_OURS):
        above.add_distribution(name)
    return [below, above]


def image() -> Image:
    """Say what the image is."""
    return Image(
        f"dativo/engine:{version('dativo-ingest')}",
        {
            "User": f"{USER}:{USER}",
            "WorkingDir": "/tmp",  # noqa: S108  the container's own
            "Env": ["PATH=/usr/local/bin", "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "HOME=/tmp"],
            "Entrypoint": ["/usr/local/bin/python3", "-m", "dativo_ingest"],
            "Labels": {"io.dativo.engine": version("dativo-ingest"), "io.dativo.packages": f"/{SITE}"},
        },
    )


if __name__ == "__main__":
    sys.exit(build(image(), layers, __doc__))
