"""Which servers libpq will try, found out as libpq does: what is said, else variables, else its own defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import pq

_PORT = "5432"


def servers_of(parameters: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Give the hosts and ports that libpq will try, none where they are not known here."""
    hosts = (said(parameters, "hostaddr") or said(parameters, "host")).split(",")
    ports = (said(parameters, "port") or _PORT).split(",")
    for number, host in enumerate(hosts):
        port = ports[number] if len(ports) == len(hosts) else ports[0]
        if host and not host.startswith(("/", "@")):
            yield host, int(port or _PORT)


def same_server(session: psycopg.Connection[Any], parameters: Mapping[str, str]) -> dict[str, str]:
    """Give parameters that lead to the server that a session is with, where there may be several to choose from.

    Sessions that read one image, and what is known of open transactions, must be of one server.
    """
    info = session.info
    found = {**parameters, "host": info.host, "port": str(info.port), "target_session_attrs": "any"}
    found.pop("hostaddr", None)
    if info.hostaddr:
        found["hostaddr"] = info.hostaddr
    return found


def said(parameters: Mapping[str, str], name: str) -> str:
    """Give a parameter's value; empty where nobody says it."""
    defaults = {each.keyword.decode(): each.val for each in pq.Conninfo.get_defaults()}
    default = defaults.get(name)
    return parameters.get(name) or (default.decode() if default else "")
