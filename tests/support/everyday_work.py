"""What plugins do all day, in one program: it says ``done`` where all of it went well."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import multiprocessing
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import aiohttp
import httpx
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
import requests


def square(number: int) -> int:
    return number * number


def files(folder: Path) -> None:
    table = pa.table({"number": range(100_000)})
    pa.parquet.write_table(table, folder / "rows.parquet")
    pa.csv.write_csv(table, folder / "rows.csv")
    assert pa.dataset.dataset(folder / "rows.parquet").count_rows() == table.num_rows
    assert pa.csv.read_csv(folder / "rows.csv").equals(table)
    assert pc.sum(table["number"]).as_py() == sum(range(100_000))
    assert np.dot(np.ones((300, 300)), np.ones((300, 300)))[0, 0] == 300
    with sqlite3.connect(folder / "rows.sqlite") as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE rows AS SELECT 1 AS number")
    database.close()
    os.mkfifo(folder / "pipe")


def processes() -> None:
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(square, [1, 2]) == [1, 4]
    assert subprocess.run(["/bin/echo", "hello"], capture_output=True, check=True).stdout == b"hello\n"
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert list(threads.map(square, range(3))) == [0, 1, 4]


async def answered(port: list[int]) -> bytes:
    async def reply(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    async with server:
        port.append(server.sockets[0].getsockname()[1])
        address = f"http://127.0.0.1:{port[0]}/"
        async with aiohttp.ClientSession() as session, session.get(address) as answer:
            assert await answer.read() == b"hi"
        async with httpx.AsyncClient() as client:
            assert (await client.get(address)).content == b"hi"
        assert (await asyncio.to_thread(lambda: httpx.get(address))).content == b"hi"
        return (await asyncio.to_thread(lambda: requests.get(address, timeout=10))).content


def network() -> None:
    port: list[int] = []
    assert asyncio.run(answered(port)) == b"hi"
    assert socket.if_nameindex()
    assert socket.getaddrinfo("localhost", 80)
    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", port=port[0], connect_timeout=5)
    one, other = socket.socketpair()
    threading.Thread(target=one.sendall, args=(b"x",)).start()
    assert other.recv(1) == b"x"
    one.close()
    other.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
        files(Path(folder))
    processes()
    network()
    sys.stdout.write("done\n")
