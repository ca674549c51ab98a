import json
import os
import stat
import threading
from pathlib import Path

import pytest

from dativo_ingest.sandbox.audit import AuditLog, audit_file
from dativo_ingest.secrets.redaction import register
from dativo_plugin_sdk.errors import ConfigurationError, InsufficientPermissionsError


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_added_for_each_event(tmp_path: Path) -> None:
    log = AuditLog(audit_file(tmp_path))

    log.write("granted", {"plugin": "shop"})
    log.write("ended", {"plugin": "shop", "outcome": "ok"})

    first, second = lines(tmp_path / ".dativo" / "audit.jsonl")
    assert (first["event"], first["plugin"]) == ("granted", "shop")
    assert (second["event"], second["outcome"]) == ("ended", "ok")
    assert str(first["time"]).endswith("Z")


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    AuditLog(tmp_path / "audit.jsonl").write("granted", {})

    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600


def test_no_value_of_a_secret_is_in_it(tmp_path: Path) -> None:
    register("canary-4711")

    AuditLog(tmp_path / "audit.jsonl").write("refused", {"asked": ["canary-4711.example:443"], "n": 1})

    text = (tmp_path / "audit.jsonl").read_text()
    assert "canary" not in text
    assert '"n":1' in text


def test_lines_of_several_threads_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    text = "x" * 20_000

    def write(name: str) -> None:
        for _ in range(20):
            AuditLog(path).write("ended", {"plugin": name, "grant": text})

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(lines(path)) == 80
    assert {each["grant"] for each in lines(path)} == {text}


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept\n")
    (tmp_path / "audit.jsonl").symlink_to(tmp_path / "victim")

    with pytest.raises(ConfigurationError, match="a link"):
        AuditLog(tmp_path / "audit.jsonl").write("granted", {})
    assert (tmp_path / "victim").read_text() == "kept\n"


def test_a_pipe_in_its_place_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "audit.jsonl")

    with pytest.raises((ConfigurationError, InsufficientPermissionsError)):
        AuditLog(tmp_path / "audit.jsonl").write("granted", {})


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InsufficientPermissionsError, match="cannot be written"):
        AuditLog(tmp_path / "file" / "audit.jsonl").write("granted", {})
