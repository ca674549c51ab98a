"""What is wrong with a server's certificate: clients say of most troubles only that it could not be verified."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dativo_plugin_sdk import AuthenticationError, DativoError, InvalidConfigError

_TIMEOUT_S = 5.0
_EXPIRED, _NOT_YET = 10, 9  # OpenSSL, X509_V_ERR_*
_NO_CHECK_TIME = 0x200000  # OpenSSL, X509_V_FLAG_NO_CHECK_TIME


@dataclass(frozen=True)
class TlsServer:
    """A server that can be asked for its certificate."""

    host: str
    port: int
    asks_for_tls: Callable[[socket.socket], bool]
    """Says to a connection what comes before TLS; False where the server does not speak it."""
    authority: str | None
    """The file of the authority to trust; None for those of this machine."""
    authority_hint: str
    """Where a job names that file."""
    protocols: Sequence[str] = ()
    """What to offer by ALPN."""

    @property
    def place(self) -> str:
        """Name the server."""
        return f"{self.host}:{self.port}"

    def context(self) -> ssl.SSLContext:
        """Give what verifies a certificate, whatever its name.

        Raises:
            OSError: The authority's file cannot be read.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        if self.authority is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=self.authority)
        if self.protocols:
            context.set_alpn_protocols(list(self.protocols))
        return context

    def shake_hands(self, context: ssl.SSLContext) -> Mapping[str, object]:
        """Begin TLS and give what the certificate says; nothing where the server speaks none.

        Raises:
            OSError: There is no way in, or the certificate is not trusted.
        """
        with socket.create_connection((self.host, self.port), timeout=_TIMEOUT_S) as connection:
            if not self.asks_for_tls(connection):
                return {}
            with context.wrap_socket(connection, server_hostname=self.host) as secured:
                return secured.getpeercert() or {}


def trouble_of(server: TlsServer) -> DativoError | None:
    """Say why a server's certificate is not trusted, by asking for it once more; None where it is, names aside."""
    try:
        server.shake_hands(server.context())
    except ssl.SSLCertVerificationError as error:
        return trouble(server, error.verify_code, error.verify_message)
    except OSError:
        return None
    return None


def trouble(server: TlsServer, code: int, why: str) -> DativoError:
    """Say what OpenSSL's verdict on a certificate means: ``code`` is its number, ``why`` its text."""
    if code == _EXPIRED:
        dates = _dates(server)
        until = f" on {dates['notAfter']}" if "notAfter" in dates else ""
        return AuthenticationError(
            f"{server.place}: the server's certificate, or one above it, has expired{until}",
            details={"certificate": "expired"},
            hint="renew the server's certificate (and see that the clock here is right)",
        )
    if code == _NOT_YET:
        dates = _dates(server)
        since = f" before {dates['notBefore']}" if "notBefore" in dates else " yet"
        return AuthenticationError(
            f"{server.place}: the server's certificate, or one above it, is not valid{since}",
            details={"certificate": "not_yet_valid"},
            hint="see that the clocks here and at the server's authority are right",
        )
    return InvalidConfigError(
        f"{server.place}: the server's certificate is not trusted: {why}",
        details={"certificate": "untrusted"},
        hint=server.authority_hint,
    )


def _dates(server: TlsServer) -> dict[str, str]:
    try:
        context = server.context()
        context.verify_flags |= _NO_CHECK_TIME
        found = server.shake_hands(context)
    except OSError:
        return {}
    return {name: str(found[name]) for name in ("notBefore", "notAfter") if name in found}
