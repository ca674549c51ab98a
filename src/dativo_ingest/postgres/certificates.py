"""What is wrong with a server's certificate: libpq says of most troubles only that it could not be verified."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

from dativo_ingest.postgres.failures import End
from dativo_ingest.postgres.servers import said, servers_of
from dativo_plugin_sdk import AuthenticationError, DativoError, InvalidConfigError

_UNVERIFIED = "certificate verify failed"
_WRONG_HOST = re.compile(r"server certificate for .* does not match host name .*")
_TIMEOUT_S = 5.0

# The answer to this request is one letter, and TLS begins after an S (Postgres, "SSL Session Encryption").
_SSL_REQUEST = (8).to_bytes(4, "big") + (80_877_103).to_bytes(4, "big")
_EXPIRED, _NOT_YET = 10, 9  # OpenSSL, X509_V_ERR_*
_NO_CHECK_TIME = 0x200000  # OpenSSL, X509_V_FLAG_NO_CHECK_TIME


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
        found = _find(host, port, parameters, end)
        if found is not None:
            found.details = {**details, **found.details}
            return found
    return error


def _find(host: str, port: int, parameters: Mapping[str, str], end: End) -> DativoError | None:
    try:
        context = _context(parameters)
        _shake_hands(host, port, parameters, context)
    except ssl.SSLCertVerificationError as error:
        code, why = error.verify_code, error.verify_message
    except (OSError, ssl.SSLError):
        return None
    else:
        return None
    if code not in {_EXPIRED, _NOT_YET}:
        return InvalidConfigError(
            f"{host}:{port}: the server's certificate is not trusted: {why}",
            details={"certificate": "untrusted"},
            hint=f"name the file of the authority that signed it in {end}.connection.sslrootcert"
            " (system stands for the authorities of this machine)",
        )
    context.verify_flags |= _NO_CHECK_TIME
    dates = _dates(host, port, parameters, context)
    if code == _EXPIRED:
        until = f" on {dates['notAfter']}" if "notAfter" in dates else ""
        return AuthenticationError(
            f"{host}:{port}: the server's certificate, or one above it, has expired{until}",
            details={"certificate": "expired"},
            hint="renew the server's certificate (and see that the clock here is right)",
        )
    since = f" before {dates['notBefore']}" if "notBefore" in dates else " yet"
    return AuthenticationError(
        f"{host}:{port}: the server's certificate, or one above it, is not valid{since}",
        details={"certificate": "not_yet_valid"},
        hint="see that the clocks here and at the server's authority are right",
    )


def _context(parameters: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    root = said(parameters, "sslrootcert") or str(Path.home() / ".postgresql" / "root.crt")
    if root == "system":
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=root)
    return context


def _dates(host: str, port: int, parameters: Mapping[str, str], context: ssl.SSLContext) -> dict[str, str]:
    try:
        found = _shake_hands(host, port, parameters, context)
    except (OSError, ssl.SSLError):
        return {}
    return {name: str(found[name]) for name in ("notBefore", "notAfter") if name in found}


def _shake_hands(host: str, port: int, parameters: Mapping[str, str], context: ssl.SSLContext) -> Mapping[str, object]:
    """Begin TLS as libpq does and give what the server's certificate says."""
    with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
        if said(parameters, "sslnegotiation") == "direct":
            context.set_alpn_protocols(["postgresql"])
        else:
            connection.sendall(_SSL_REQUEST)
            if connection.recv(1) != b"S":
                return {}
        with context.wrap_socket(connection, server_hostname=host) as secured:
            return secured.getpeercert() or {}
