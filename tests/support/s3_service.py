"""An S3 service of each test worker's own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs

_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
    "s3.port.iceberg",
    "s3.port.lance",
    "admin.port",
    "admin.port.grpc",
)
_READY_S = 60.0


@dataclass(frozen=True)
class S3:
    """A SeaweedFS on loopback; ``bucket`` is there and shared by the worker's tests, so write under a prefix.

    ``catalog_uri`` is its Iceberg REST catalog, whose warehouse is ``s3://<table_bucket>``.
    """

    endpoint: str
    catalog_uri: str
    access_key_id: str = "weedadmin"
    secret_access_key: str = "weedsecret"
    reader_key_id: str = "weedlister"
    reader_secret: str = "weedlistersecret"
    bucket: str = "lake"
    table_bucket: str = "icetables"
    region: str = "us-east-1"

    @property
    def credentials(self) -> dict[str, str]:
        """Give the credentials as a job writes them."""
        return {"access_key_id": self.access_key_id, "secret_access_key": self.secret_access_key}

    def filesystem(self) -> pafs.S3FileSystem:
        """Give Arrow's filesystem with all rights."""
        return pafs.S3FileSystem(
            access_key=self.access_key_id,
            secret_key=self.secret_access_key,
            endpoint_override=self.endpoint.removeprefix("http://"),
            scheme="http",
            region=self.region,
            allow_bucket_creation=True,
        )

    def write(self, key: str, data: bytes) -> str:
        """Write an object into the bucket and give its address."""
        with self.filesystem().open_output_stream(f"{self.bucket}/{key}", compression=None) as stream:
            stream.write(data)
        return f"s3://{self.bucket}/{key}"


@contextmanager
def running(folder: Path) -> Iterator[S3]:
    """Start SeaweedFS on free ports of loopback, wait until it takes an object, and kill it by its pid at the end."""
    identities = folder / "s3.json"
    identities.write_text(json.dumps({"identities": _identities()}))
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    command = [
        str(weed),
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{name}={port}" for name, port in ports.items()),
        "-webdav=false",
        "-admin.ui=false",
        f"-bucket={S3.bucket}",
        f"-tableBucket={S3.table_bucket}",
        f"-s3.config={identities}",
    ]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    service = S3(
        endpoint=f"http://127.0.0.1:{ports['s3.port']}", catalog_uri=f"http://127.0.0.1:{ports['s3.port.iceberg']}"
    )
    try:
        _wait(service, process, folder / "log.txt")
        yield service
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _identities() -> list[dict[str, object]]:
    return [
        {
            "name": "admin",
            "credentials": [{"accessKey": S3.access_key_id, "secretKey": S3.secret_access_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "lister",
            "credentials": [{"accessKey": S3.reader_key_id, "secretKey": S3.reader_secret}],
            "actions": [f"List:{S3.bucket}"],
        },
    ]


def _wait(service: S3, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + _READY_S
    while True:
        try:
            service.write("ready", b"")
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline_s:
                tail = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"SeaweedFS did not start: {error}\n{tail}") from error
            time.sleep(0.1)
        else:
            return


def _free_ports(count: int) -> list[int]:
    """Find free ports of loopback, all held until the last is found, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
