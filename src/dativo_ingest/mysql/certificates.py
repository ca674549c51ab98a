"""What is wrong with a server's certificate."""

from __future__ import annotations

import socket
import ssl
import struct

from dativo_ingest.databases.certificates import TlsServer, trouble
from dativo_ingest.databases.failures import End
from dativo_ingest.mysql.connection import Parameters
from dativo_ingest.mysql.failures import cause_of
from dativo_plugin_sdk import DativoError, InvalidConfigError

_OTHER_NAME = frozenset({62, 64})  # OpenSSL, X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH

# MySQL's protocol, "Protocol::SSLRequest": the answer to the server's greeting, after which TLS begins.
_TLS_FLAG = 0x0800
_FLAGS = 0x0200 | _TLS_FLAG | 0x8000 | 0x0008_0000  # protocol 4.1, TLS, and how one would log in
_UTF8MB4 = 45
_REQUEST = struct.pack("<IIB23x", _FLAGS, 2**24 - 1, _UTF8MB4)


def explained(error: DativoError, parameters: Parameters, end: End) -> DativoError:
    """Say what is wrong with the server's certificate, where that is what ``error`` is about; else give it back."""
    cause = cause_of(error.__cause__)
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return error
    if cause.verify_code in _OTHER_NAME:
        found: DativoError = InvalidConfigError(
            f"{parameters.server}: {cause.verify_message.rstrip('.')}; it may be another server",
            details={"certificate": "wrong_host"},
            hint=f"write {end}.connection.host as the certificate has it; ssl_mode: verify_ca does not look at names",
        )
    else:
        server = TlsServer(
            parameters.host,
            parameters.port,
            asks_for_tls=_request,
            authority=parameters.ssl_ca,
            authority_hint=f"name the file of the authority that signed it in {end}.connection.ssl_ca",
        )
        found = trouble(server, cause.verify_code, cause.verify_message)
    found.details = {**error.details, **found.details}
    return found


def _request(connection: socket.socket) -> bool:
    with connection.makefile("rb") as said:
        size = int.from_bytes(said.read(4)[:3], "little")
        said.read(size)
    connection.sendall(len(_REQUEST).to_bytes(3, "little") + b"\x01" + _REQUEST)
    return True
