"""What is wrong with a server's certificate: libpq says of most troubles only that it could not be verified."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path

from dativo_ingest.databases.certificates import TlsServer, trouble_of
from dativo_ingest.databases.failures import End
from dativo_ingest.postgres.servers import said, servers_of
from dativo_plugin_sdk import DativoError, InvalidConfigError

_UNVERIFIED = "certificate verify failed"
_WRONG_HOST = re.compile(r"server certificate for .* does not match host name .*")

# The answer to this request is one letter, and TLS begins after an S (Postgres, "SSL Session Encryption").
_SSL_REQUEST = (8).to_bytes(4, "big") + (80_877_103).to_bytes(4, "big")


def explained(error: DativoError, parameters: Mapping[str, str], end: End) -> DativoError:
    """Say what is wrong with the server's certificate, where that is what ``error`` is about; else give it back.

    The server is asked for its certificate once more; nothing else is said to it.
    """
    text = str(error.details.get("original_message", ""))
    details = dict(error.details)
    mismatch = _WRONG_HOST.search(text)
    if mismatch:
        return InvalidConfigError(
            f"{mismatch[0]}: it may be another server",
            details={**details, "certificate": "wrong_host"},
            hint=f"write {end}.connection.host as the certificate has it; sslmode: verify-ca does not look at names",
        )
    if _UNVERIFIED not in text:
        return error
    for host, port in servers_of(parameters):
        found = trouble_of(_server(host, port, parameters, end))
        if found is not None:
            found.details = {**details, **found.details}
            return found
    return error


def _server(host: str, port: int, parameters: Mapping[str, str], end: End) -> TlsServer:
    root = said(parameters, "sslrootcert") or str(Path.home() / ".postgresql" / "root.crt")
    direct = said(parameters, "sslnegotiation") == "direct"
    return TlsServer(
        host,
        port,
        asks_for_tls=_nothing if direct else _request,
        authority=None if root == "system" else root,
        authority_hint=f"name the file of the authority that signed it in {end}.connection.sslrootcert"
        " (system stands for the authorities of this machine)",
        protocols=["postgresql"] if direct else [],
    )


def _nothing(connection: socket.socket) -> bool:  # noqa: ARG001  TLS is the first thing that is said
    return True


def _request(connection: socket.socket) -> bool:
    connection.sendall(_SSL_REQUEST)
    return connection.recv(1) == b"S"
