"""Clients as plugins bring them, within a sandbox that has no network: nothing is configured, patched or wrapped."""

import json
import ssl
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from postgres_service import Postgres
from tls_front import tls_front

from dativo_ingest.sandbox.bubblewrap import Process
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.container.back_end import container
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.launch import Session
from dativo_ingest.sandbox.run_spec import Code, RunSpec

LARGE = 3_000_000
_CLIENTS = Path(__file__).parents[2] / "support" / "egress_clients.py"
_LISTING = b"""<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>lake</Name>
<KeyCount>1</KeyCount><IsTruncated>false</IsTruncated><Contents><Key>orders.parquet</Key><Size>1</Size></Contents>
</ListBucketResult>"""
_PACKAGES = sysconfig.get_path("purelib")


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answers = {"/hello": f"hello from {self.headers['Host'] or 'nobody'}".encode(), "/large": b"x" * LARGE}
        body = answers.get(self.path, _LISTING)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def _http_server(context: ssl.SSLContext | None = None) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Visited:
    """What the clients said of one visit, and what the proxy did."""

    isolation: str
    said: dict[str, Any]
    record: dict[str, Any]
    https: int
    http: int
    postgres: int


def _process(_: pytest.FixtureRequest) -> tuple[Confinement, str]:
    return Process(), sys.executable


def _docker(request: pytest.FixtureRequest) -> tuple[Confinement, str]:
    engine = request.getfixturevalue("docker")
    return container(engine=engine.url, image=engine.image, runtime=None), "/usr/local/bin/python3"


@pytest.fixture(scope="module", params=[_process, _docker], ids=["process", "docker"])
def visited(
    request: pytest.FixtureRequest, postgres_18: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Visited]:
    """Let all clients do what they do, in one sandbox."""
    folder = tmp_path_factory.mktemp("egress")
    folder.chmod(0o755)
    authority = Authority("an authority of the tests")
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(authority.certificate)
    clients = folder / "plugin" / "clients.py"
    clients.parent.mkdir(mode=0o755)
    clients.write_bytes(_CLIENTS.read_bytes())
    pair = folder / "server.pem"
    pair.write_bytes(b"".join(authority.issue("*.example.org")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    with ExitStack() as servers:
        https = servers.enter_context(_http_server(context))
        http = servers.enter_context(_http_server())
        front = tls_front(postgres_18.port, *authority.issue("db.example.net"), folder)
        postgres = servers.enter_context(front)
        hosts = (
            f"*.example.org:{https}",
            f"web.example.net:{http}",
            f"web.example.net:{https}",
            f"db.example.net:{postgres}",
        )
        confinement, python = request.param(request)
        network = tuple(sorted((*hosts, f"10.20.30.40:{http}")))
        grant = Grant(network=network, private=hosts, read=(str(folder), _PACKAGES))
        command = (python, str(clients), str(https), str(http), str(postgres), str(ca_file), _PACKAGES)
        spec = RunSpec("crm-reader", command, grant, code=Code(file=clients, folder=clients.parent))
        session = Session(spec, confinement, resolve=lambda *_: ["127.0.0.1"])
        try:
            found = session.exit(120)
            session.close()
            lines = session.output.last_lines
            assert found is not None, lines
            assert found.exit_code == 0, lines
            assert session.egress is not None
            said = json.loads(next(line for line in lines if line.startswith('{"with_requests"')))
            yield Visited(confinement.isolation, said, session.egress.document(), https, http, postgres)
        finally:
            session.close()


def test_clients_reach_granted_hosts_unchanged_and_tls_is_checked_end_to_end(visited: Visited) -> None:
    api, web = f"hello from api.example.org:{visited.https}", f"hello from web.example.net:{visited.http}"

    assert visited.said["with_requests"] == {"ok": [api, web, api]}
    assert visited.said["with_httpx"] == {"ok": [api, web]}
    assert visited.said["with_urllib"] == {"ok": [api, web]}
    assert visited.said["with_aiohttp"] == {"ok": [api, web] * 2}
    assert visited.said["with_boto3"] == {"ok": ["orders.parquet"]}
    assert visited.said["with_psycopg"] == {"ok": [42, True]}
    assert visited.said["a_large_answer"] == {"ok": LARGE}
    assert visited.said["half_closed"] == {"ok": "hello from nobody"}
    assert visited.said["a_name_over_tcp"]["ok"].startswith("127.77.")


def test_a_certificate_of_another_host_is_seen_by_the_client(visited: Visited) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in visited.said["another_certificate"]["error"]


def test_every_client_fails_at_a_host_that_is_not_granted_and_the_host_is_known(visited: Visited) -> None:
    failed = {name: said for name, said in visited.said.items() if name.startswith("denied_")}
    denied = {each["host"] for each in visited.record["denied"]}

    assert len(failed) == 6
    assert all("error" in said for said in failed.values()), failed
    assert "403 Forbidden: evil.example.com:443: it is not granted" in failed["denied_by_requests"]["error"]
    assert "Name or service not known" in failed["denied_by_name"]["error"]
    assert "Network is unreachable" in failed["denied_by_address"]["error"]
    assert denied >= {
        "evil.example.com:443",
        "httpx.example.com:443",
        "db.example.com",
        "169.254.169.254:80",
    }


def test_a_granted_address_is_the_process_sandboxs_own_and_the_proxy_decides(visited: Visited) -> None:
    found = [each for each in visited.record["denied"] if each["host"] == f"10.20.30.40:{visited.http}"]
    error = visited.said["by_its_address"]["error"]

    if visited.isolation == "process":
        assert "ConnectionResetError" in error
        assert [(each["why"], each["key"]) for each in found] == [("it is a private address", "private")]
    else:  # a container has no right to another address
        assert "Network is unreachable" in error
        assert found == []


def test_the_hosts_that_were_contacted_are_recorded_with_what_moved(visited: Visited) -> None:
    hosts = {each["host"]: each for each in visited.record["hosts"]}

    assert hosts.keys() == {
        f"api.example.org:{visited.https}",
        f"lake.example.org:{visited.https}",
        f"web.example.net:{visited.http}",
        f"web.example.net:{visited.https}",
        f"db.example.net:{visited.postgres}",
    }
    assert hosts[f"web.example.net:{visited.http}"]["download"] > LARGE
    assert all(each["addresses"] == ["127.0.0.1"] and each["upload"] for each in hosts.values())
