"""Readers of `hostile_plugin`, and how long they may take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from confined import LIBRARY
from hostile_plugin import ROWS

from dativo_ingest.plugin_process.remote_reader import RemoteReader
from dativo_ingest.sandbox.grant import Deadlines, Grant

MakeReader = Callable[..., RemoteReader]
HOSTILE = Path(__file__).with_name("hostile_plugin.py")
BATCH = pa.record_batch({"id": range(ROWS)})
LITTLE_LOG = Grant(log_bytes=2**17, read=(LIBRARY, str(HOSTILE)), subprocess=True)
"""As much time as a busy machine may take, and soon too much to print; whatever else it takes to misbehave."""


def impatient(deadline: str) -> Grant:
    """Give little time for one thing, and as much as a busy machine may take for all others."""
    return replace(LITTLE_LOG, deadlines=Deadlines(**{f"{deadline}_s": 0.3}))
