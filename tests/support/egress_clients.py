"""What plugins bring to talk to hosts, each used as its documentation has it: run within a sandbox, nothing of ours.

Run as ``python egress_clients.py HTTPS_PORT HTTP_PORT POSTGRES_PORT CA_FILE PACKAGES``, of which the last is where the
clients are, where Python does not know it; prints one line of JSON.
"""

import asyncio
import json
import socket
import ssl
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

sys.path += sys.argv[5:]
HTTPS_PORT, HTTP_PORT, POSTGRES_PORT, CA_FILE = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
API = f"https://api.example.org:{HTTPS_PORT}/hello"
PLAIN = f"http://web.example.net:{HTTP_PORT}/hello"
DENIED = "https://evil.example.com/"


def with_requests() -> Any:
    import requests

    with requests.Session() as session:
        session.verify = CA_FILE
        return [session.get(each, timeout=20).text for each in (API, PLAIN, API.replace("api", "API"))]


def with_httpx() -> Any:
    import httpx

    with httpx.Client(verify=ssl.create_default_context(cafile=CA_FILE)) as client:
        return [client.get(each).text for each in (API, PLAIN)]


def with_urllib() -> Any:
    context = ssl.create_default_context(cafile=CA_FILE)
    answers = []
    for each in (API, PLAIN):
        with urllib.request.urlopen(each, timeout=20, context=context if each == API else None) as answer:  # noqa: S310  http
            answers.append(answer.read().decode())
    return answers


def with_aiohttp() -> Any:
    import aiohttp

    async def ask() -> list[str]:
        answers = []
        for trust_env in (False, True):
            async with aiohttp.ClientSession(trust_env=trust_env) as session:
                context = ssl.create_default_context(cafile=CA_FILE)
                for each in (API, PLAIN):
                    async with session.get(each, ssl=context) as answer:
                        answers.append(await answer.text())
        return answers

    return asyncio.run(ask())


def with_boto3() -> Any:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=f"https://example.org:{HTTPS_PORT}",
        verify=CA_FILE,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(s3={"addressing_style": "virtual"}, retries={"max_attempts": 0}),
    )
    return [each["Key"] for each in client.list_objects_v2(Bucket="lake")["Contents"]]


def with_psycopg() -> Any:
    import psycopg

    with psycopg.connect(
        host="db.example.net",
        port=POSTGRES_PORT,
        dbname="lake",
        user="dativo_admin",
        password="pa ss'w@rd",
        sslmode="verify-full",
        sslrootcert=CA_FILE,
        gssencmode="disable",
    ) as session:
        found = session.execute("select 6 * 7").fetchone()
        return [found[0] if found else None, session.pgconn.ssl_in_use]


def by_its_address() -> Any:
    return said_after_the_end("10.20.30.40")


def half_closed() -> Any:
    return said_after_the_end("web.example.net")


def said_after_the_end(host: str) -> str:
    """Ask, end what is said, and take what still comes."""
    with socket.create_connection((host, HTTP_PORT), timeout=20) as peer:
        peer.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
        peer.shutdown(socket.SHUT_WR)
        said = b""
        while piece := peer.recv(2**16):
            said += piece
    return said.partition(b"\r\n\r\n")[2].decode()


def a_name_over_tcp() -> Any:
    question = b"\0\7\1\0\0\1\0\0\0\0\0\0\3web\7example\3net\0\0\1\0\1"
    with socket.create_connection(("127.0.0.1", 53), timeout=20) as peer:
        peer.sendall(len(question).to_bytes(2, "big") + question)
        return socket.inet_ntoa(peer.recv(512)[-4:])


def a_large_answer() -> Any:
    with urllib.request.urlopen(f"http://web.example.net:{HTTP_PORT}/large", timeout=20) as answer:
        return len(answer.read())


def denied_by_requests() -> Any:
    import requests

    return requests.get(DENIED, timeout=20).status_code


def denied_by_httpx() -> Any:
    import httpx

    return httpx.get(DENIED.replace("evil", "httpx")).status_code


def denied_by_name() -> Any:
    return socket.getaddrinfo("db.example.com", 5432)


def denied_by_port() -> Any:
    return socket.create_connection(("api.example.org", 22), timeout=20)


def denied_by_address() -> Any:
    return socket.create_connection(("192.0.2.1", 443), timeout=20)


def denied_metadata() -> Any:
    with urllib.request.urlopen("http://169.254.169.254/latest/meta-data/", timeout=20) as answer:
        return answer.status


def another_certificate() -> Any:
    context = ssl.create_default_context(cafile=CA_FILE)
    with urllib.request.urlopen(f"https://web.example.net:{HTTPS_PORT}/", timeout=20, context=context) as answer:
        return answer.status


def tried(attempt: Callable[[], Any]) -> Any:
    try:
        return {"ok": attempt()}
    except Exception as error:  # noqa: BLE001  whatever a client raises is told
        return {"error": f"{type(error).__name__}: {error}"}


ATTEMPTS = (
    with_requests,
    with_httpx,
    with_urllib,
    with_aiohttp,
    with_boto3,
    with_psycopg,
    by_its_address,
    half_closed,
    a_name_over_tcp,
    a_large_answer,
    another_certificate,
    denied_by_requests,
    denied_by_httpx,
    denied_by_name,
    denied_by_port,
    denied_by_address,
    denied_metadata,
)

if __name__ == "__main__":
    sys.stdout.write(json.dumps({each.__name__: tried(each) for each in ATTEMPTS}) + "\n")
