"""What MySQL, MariaDB and PyMySQL say when something fails, as Dativo's errors."""

from __future__ import annotations

from dativo_plugin_sdk import ResourceNotFoundError

INSTALL = "install it with: pip install 'dativo-ingest[mysql]'"


def require_pymysql(what: str) -> None:
    """See that the library is there.

    Args:
        what: What needs it.

    Raises:
        ResourceNotFoundError: It is not installed.
    """
    try:
        import pymysql  # noqa: F401, PLC0415  only to see
    except ImportError as error:
        raise ResourceNotFoundError(f"{what} needs the package pymysql", hint=INSTALL) from error
