"""Rows from one process to another over the plugin's data socket, received as hostile: data_plane.py FILE.

One process sends the record batches of an Arrow file, this one receives and validates them, and drops them. What is
told counts both processes.
"""

from __future__ import annotations

import os
import socket
import sys
from functools import partial

import pyarrow as pa
from clock import clock

from dativo_plugin_sdk.protocol.arrow_stream import ArrowReceiver, ArrowSender
from dativo_plugin_sdk.protocol.sockets import SocketSink, fill, widen


def _send(ours: socket.socket, path: str) -> None:
    sender = ArrowSender(SocketSink(ours))
    with pa.memory_map(path) as file:
        reader = pa.ipc.open_file(file)
        for at in range(reader.num_record_batches):
            sender.send(reader.get_batch(at))


def main(path: str) -> None:
    """Send, receive, and tell how fast it was."""
    with pa.memory_map(path) as file:
        batches = pa.ipc.open_file(file).num_record_batches
    ours, theirs = socket.socketpair()
    widen(ours)
    widen(theirs)
    rows = 0
    with clock() as measured:
        if (child := os.fork()) == 0:
            _send(theirs, path)
            os._exit(0)
        receiver = ArrowReceiver(partial(fill, ours))
        for _ in range(batches):
            rows += receiver.batch().batch.num_rows
        os.waitpid(child, 0)
    measured.show(**{"GB/s": receiver.received_bytes / measured.wall_s / 1e9, "M rows/s": rows / measured.wall_s / 1e6})


if __name__ == "__main__":
    main(sys.argv[1])
