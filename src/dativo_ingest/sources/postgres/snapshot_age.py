"""Ends sessions that keep an image of the database for too long: old versions of rows cannot be removed meanwhile."""

from __future__ import annotations

import contextlib
import os
import socket

import psycopg

from dativo_ingest.postgres.sessions import Session


def sever(session: Session) -> None:
    """End a session's conversation, whatever another thread waits for in it: what it waits for comes to an end."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(session.pgconn.socket)) as connection:
        connection.shutdown(socket.SHUT_RDWR)
