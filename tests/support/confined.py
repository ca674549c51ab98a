"""How a plugin's process is held in tests that have no job and no policy."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dativo_ingest.sandbox.bubblewrap import Process
from dativo_ingest.sandbox.confinement import Confinement

PYTHON = os.path.realpath(sys.executable)
"""This Python, as a program that a plugin in another language could be."""
LIBRARY = str(Path(os.__file__).parent)
"""What that needs to read."""


def confined() -> Confinement:
    """Give what holds third-party plugins where nobody says anything."""
    return Process()
