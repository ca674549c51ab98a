"""Readers of `hostile_plugin`, and how long they may take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from hostile_plugin import ROWS

from dativo_ingest.plugin_process.remote_reader import RemoteReader
from dativo_ingest.sandbox.grant import Deadlines, Grant

HOSTILE = Path(__file__).with_name("hostile_plugin.py")
BATCH = pa.record_batch({"id": range(ROWS)})
QUICK = Grant(deadlines=Deadlines(start_s=5, check_s=0.3, discover_s=0.3, idle_s=0.3), log_bytes=2**17)
"""Long enough to start on a busy machine, and soon over where nothing comes."""
IMPATIENT = Grant(deadlines=Deadlines(start_s=0.4, check_s=0.3, discover_s=0.3, idle_s=0.3), log_bytes=2**17)

MakeReader = Callable[..., RemoteReader]
