"""What is asked of the proxy: the head of a CONNECT request, read so strictly that it means one thing or nothing."""

from __future__ import annotations

import re
from typing import Final

from dativo_ingest.sandbox.hosts import ANY_PORT, Host, read_host

MAX_HEAD_BYTES: Final = 8192
END_OF_HEAD: Final = b"\r\n\r\n"

_LINE = re.compile(rb"(?P<method>[A-Z]{1,32}) (?P<target>[!-~]{1,512}) HTTP/1\.(?P<minor>[01])")
_FIELD = re.compile(rb"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*(?P<value>[ -~\t\x80-\xff]*)")  # RFC 9110, 5
_NO_PORT = re.compile(r"(?P<name>[^:\[\]]+):0")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://(?P<authority>[^/?#]+)", re.IGNORECASE)
_SCHEME_PORTS = {"http": 80, "https": 443}
_MAX_FIELDS = 64
_BODIES = frozenset({b"transfer-encoding", b"trailer", b"upgrade", b"expect", b"content-encoding"})


class BadRequestError(Exception):
    """What came is no CONNECT request.

    Attributes:
        status: The status that is answered.
        why: What is wrong with it.
        host: Whom it was meant for, where that is known: somebody tried to reach it.
    """

    def __init__(self, status: int, why: str, host: Host | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.host = host


def read_connect(head: bytes) -> Host:
    """Read whom to connect to; a port of 0 means that the name was only looked up.

    Args:
        head: All that came, up to the empty line and with it.

    Raises:
        BadRequestError: It is anything else than one CONNECT request of HTTP/1.1 or 1.0, without a body.
    """
    if not head.endswith(END_OF_HEAD) or head.index(END_OF_HEAD) != len(head) - len(END_OF_HEAD):
        raise BadRequestError(400, "something follows the request before it is answered")
    first, *rest = head[: -len(END_OF_HEAD)].split(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise BadRequestError(400, "no request line of HTTP/1.1")
    target = line["target"].decode("ascii")
    if line["method"] != b"CONNECT":
        raise BadRequestError(405, "only CONNECT is taken here", _meant(target))
    host = _host(target)
    _check_fields(rest, host, needs_host=line["minor"] == b"1")
    return host


def _host(target: str) -> Host:
    looked_up = _NO_PORT.fullmatch(target)
    try:
        if "%" in target:  # a zone of an address, which is one of the link's own
            raise ValueError("no zone")  # noqa: TRY301  said in one place
        if looked_up is None:
            return read_host(target)
        return Host(read_host(f"{looked_up['name']}:1").name, ANY_PORT)
    except ValueError:
        raise BadRequestError(400, "no host and port") from None


def _check_fields(lines: list[bytes], host: Host, *, needs_host: bool) -> None:
    if len(lines) > _MAX_FIELDS:
        raise BadRequestError(431, "too many fields")
    hosts: list[str] = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise BadRequestError(400, "no field of a head")
        name, value = field["name"].lower(), field["value"].strip(b" \t")
        if name == b"host":
            hosts.append(value.decode("latin-1"))
        elif name in _BODIES or (name == b"content-length" and value != b"0"):
            raise BadRequestError(400, "a CONNECT request has no body")
    if len(hosts) > 1 or (needs_host and not hosts):
        raise BadRequestError(400, "there must be one Host")
    if hosts and not _is_same(hosts[0], host):
        raise BadRequestError(400, "Host is another one than the target")


def _is_same(text: str, host: Host) -> bool:
    """Say whether a Host field means the target, whose port it may leave out."""
    for each in (text, f"{text}:{host.port}"):
        try:
            if _host(each) == host:
                return True
        except BadRequestError:
            continue
    return False


def _meant(target: str) -> Host | None:
    """Give whom a request for a whole URL was for, as clients of a proxy send it for plain HTTP."""
    url = _URL.match(target)
    if url is None:
        return None
    port = _SCHEME_PORTS.get(target.partition(":")[0].lower(), 80)
    for each in (url["authority"], f"{url['authority']}:{port}"):
        try:
            return read_host(each)
        except ValueError:
            continue
    return None
