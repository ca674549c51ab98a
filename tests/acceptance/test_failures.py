"""A failure is typed, moves no state, and the next run is complete."""

import contextlib
import gzip
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from s3_service import S3
from workshop import DATIVO, WITHOUT_PRIVILEGES, Workshop

ROWS = 200_000


def write_rows(path: Path, rows: int = ROWS) -> None:
    path.write_text("id,name\n" + "".join(f"{i},name {i * 7919 % 1000003}\n" for i in range(rows)), encoding="utf-8")


@pytest.fixture
def loaded(workshop: Workshop) -> Workshop:
    write_rows(workshop.folder / "rows.csv")
    return workshop.job({"connector": "csv", "connection": {"path": "rows.csv"}}, {"rows": {"mode": "incremental"}})


def the_error(ran: object) -> dict[str, object]:
    (error,) = ran.report["errors"]  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("target", ["iceberg", "parquet", "duckdb"])
def test_a_full_disk_stops_the_run_with_73_and_the_next_one_is_complete(tmp_path: Path, target: str) -> None:
    workshop = Workshop(tmp_path, target=target)
    write_rows(tmp_path / "rows.csv")
    disk = tmp_path / "disk"
    disk.mkdir()
    workshop.job(
        {"connector": "csv", "connection": {"path": "rows.csv"}},
        {"rows": {"mode": "incremental"}},
    )
    text = workshop.config.read_text(encoding="utf-8").replace(str(workshop.place), str(disk / workshop.place.name))
    workshop.config.write_text(text, encoding="utf-8")
    report = tmp_path / "report.json"
    run = " ".join([*DATIVO, "run", "--config", str(workshop.config), "--progress", "none", "--report", str(report)])
    script = f"""
        mount -t tmpfs -o size=400k none {disk} || exit 99
        {run} > {tmp_path}/full.out 2>&1; echo "$?" > {tmp_path}/full.code
        cp {report} {tmp_path}/full.json
        mount -o remount,size=400m {disk}
        {run} > {tmp_path}/again.out 2>&1; echo "$?" > {tmp_path}/again.code
        cp -r {disk}/. {tmp_path}/landed
    """
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]

    subprocess.run([*unshare, "bash", "-c", script], check=True, timeout=200)

    assert (tmp_path / "full.code").read_text(encoding="utf-8").strip() == "73", (tmp_path / "full.out").read_text()
    assert '"DISK_FULL"' in (tmp_path / "full.json").read_text(encoding="utf-8")
    assert (tmp_path / "again.code").read_text(encoding="utf-8").strip() == "0", (tmp_path / "again.out").read_text()
    report_again = report.read_text(encoding="utf-8")
    assert f'"written": {ROWS}' in report_again or f'"written":{ROWS}' in report_again


def test_a_warehouse_that_may_not_be_written_is_a_permission_error(loaded: Workshop) -> None:
    loaded.place.mkdir()
    loaded.place.chmod(0o555)

    refused = loaded.run(prefix=WITHOUT_PRIVILEGES)

    assert refused.code == 77, refused.stderr
    assert the_error(refused)["error_code"] == "INSUFFICIENT_PERMISSIONS"
    assert str(loaded.place) in str(the_error(refused)["message"])
    loaded.place.chmod(0o755)
    assert loaded.run().rows["written"] == ROWS


def test_a_catalog_that_may_not_be_written_is_a_permission_error(loaded: Workshop) -> None:
    assert loaded.run().code == 0
    write_rows(loaded.folder / "rows.csv", 10)
    loaded.job({"connector": "csv", "connection": {"path": "rows.csv"}}, {"rows": {"mode": "full_refresh"}})
    for file in loaded.place.glob("catalog.db*"):
        file.chmod(0o444)
    loaded.place.chmod(0o555)

    refused = loaded.run(prefix=WITHOUT_PRIVILEGES)

    assert refused.code == 77, refused.stderr
    assert loaded.table("rows").num_rows == ROWS
    loaded.place.chmod(0o755)
    (loaded.place / "catalog.db").chmod(0o644)
    assert loaded.run().code == 0
    assert loaded.table("rows").num_rows == 10


def test_an_unreadable_file_is_a_permission_error(loaded: Workshop) -> None:
    (loaded.folder / "rows.csv").chmod(0)

    refused = loaded.run(prefix=WITHOUT_PRIVILEGES)

    assert refused.code == 77, refused.stderr
    assert "rows.csv" in str(the_error(refused)["message"])
    (loaded.folder / "rows.csv").chmod(0o644)
    assert loaded.run().rows["written"] == ROWS


DYING = """
from dativo_ingest.plugins import BaseReader

class Dying(BaseReader):
    def extract(self, state_manager=None):
        yield [{"id": number} for number in range(1000)]
        state_manager.set("cursor", 1000)
        if not {mended}:
            raise {error}
        yield [{"id": number} for number in range(1000, 2000)]
"""


@pytest.mark.parametrize(
    ("error", "code"),
    [("SystemExit(3)", 70), ("ZeroDivisionError()", 70), ("KeyboardInterrupt()", 70), ("MemoryError()", 78)],
)
def test_a_reader_that_dies_mid_way_leaves_nothing_and_the_next_run_is_complete(
    workshop: Workshop, error: str, code: int
) -> None:
    plugin = workshop.folder / "dying.py"
    plugin.write_text(DYING.replace("{mended}", "False").replace("{error}", error), encoding="utf-8")
    workshop.job({"connector": f"{plugin}:Dying"}, {"numbers": {"mode": "incremental"}})

    died = workshop.run()

    assert died.code == code, died.stderr
    assert error.split("(", maxsplit=1)[0] in str(the_error(died)["message"])
    assert died.report["streams"][0]["state"]["after"] is None
    assert workshop.table("numbers").num_rows == 0
    plugin.write_text(DYING.replace("{mended}", "True").replace("{error}", error), encoding="utf-8")
    assert workshop.run().rows["written"] == 2000
    assert workshop.table("numbers").num_rows == 2000


def test_a_truncated_gzip_loads_nothing_until_it_is_whole(workshop: Workshop) -> None:
    whole = gzip.compress(b"id,name\n" + b"".join(b"%d,x\n" % i for i in range(100_000)))
    path = workshop.folder / "rows.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    workshop.job({"connector": "csv", "connection": {"path": "rows.csv.gz"}}, {"rows": {"mode": "incremental"}})

    broken = workshop.run()

    assert broken.code == 65, broken.stderr
    assert the_error(broken)["error_code"] == "DATA_FORMAT_ERROR"
    assert workshop.table("rows").num_rows == 0
    path.write_bytes(whole)
    assert workshop.run().rows["written"] == 100_000


class CuttableProxy:
    """A TCP proxy on loopback that cuts every connection once it has passed on ``left`` bytes; None never cuts."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.left: int | None = None
        self._start(self._accept)

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            if self.left is not None and self.left <= 0:
                _hang_up(client)
                continue
            server = socket.create_connection(("127.0.0.1", self._upstream))
            self._sockets.append(server)
            self._start(self._pump, client, server)
            self._start(self._pump, server, client)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if self.left is not None:
                    self.left -= len(data)
                    if self.left <= 0:
                        break
                other.sendall(data)
        _hang_up(one)
        _hang_up(other)

    def close(self) -> None:
        """Hang up everywhere and let go of every socket."""
        for each in list(self._sockets):
            _hang_up(each)
        for thread in list(self._threads):
            thread.join(timeout=10)
        for each in self._sockets:
            each.close()


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(s3: S3) -> Iterator[CuttableProxy]:
    """A way to the object store that can be cut."""
    made = CuttableProxy(int(s3.endpoint.rsplit(":", 1)[1]))
    yield made
    made.close()


def test_an_upload_that_breaks_is_temporary_and_the_next_run_is_complete(
    workshop: Workshop, s3: S3, proxy: CuttableProxy
) -> None:
    write_rows(workshop.folder / "rows.csv")
    workshop.job({"connector": "csv", "connection": {"path": "rows.csv"}}, {"rows": {"mode": "incremental"}})
    job = json.loads(workshop.config.read_text(encoding="utf-8"))
    job["target"] = {
        "connector": "iceberg",
        "namespace": f"n{os.urandom(4).hex()}",
        "connection": {
            "uri": f"sqlite:///{workshop.folder}/catalog.db",
            "type": "sql",
            "warehouse": f"s3://{s3.bucket}/{os.urandom(4).hex()}",  # type: ignore[attr-defined]
            "endpoint": f"http://127.0.0.1:{proxy.port}",
            "region": "us-east-1",
        },
        "credentials": s3.credentials,
    }
    workshop.config.write_text(json.dumps(job), encoding="utf-8")
    proxy.left = 300_000

    cut = workshop.run()

    assert cut.code == 75, cut.stderr
    assert cut.report["retryable"]
    proxy.left = None
    again = workshop.run()
    assert again.code == 0, again.stderr
    assert again.rows["written"] == ROWS
    assert workshop.run().report["status"] == "no_data"
