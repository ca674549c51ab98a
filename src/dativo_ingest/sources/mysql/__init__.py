"""The MySQL and MariaDB source: rows as the server sends them, straight into Arrow."""

from __future__ import annotations

from dativo_ingest.sources.mysql.reader import MysqlReader

__all__ = ["MysqlReader"]
