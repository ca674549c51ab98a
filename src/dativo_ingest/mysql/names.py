"""Names and values as MySQL takes them."""

from __future__ import annotations


def quoted(*names: str) -> str:
    """Write a name, level by level, so that any of its characters stands for itself."""
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)


def literal(text: str) -> str:
    """Write a text as a value, for sessions in which a backslash begins an escape, as those of Dativo are."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''").replace("\0", "\\0") + "'"


def account(name: str) -> str:
    """Write an account as GRANT takes it, of what ``CURRENT_USER()`` gives: ``'me'@'%'``."""
    user, _, host = name.rpartition("@")
    return f"{literal(user)}@{literal(host)}"
