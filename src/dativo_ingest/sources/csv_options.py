"""What a CSV source can be told about its files."""

from __future__ import annotations

import codecs
from typing import Self

from pydantic import Field, field_validator, model_validator

from dativo_ingest.sources.csv_records import Dialect
from dativo_ingest.sources.file_config import FileOptions

_NAMED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
# In these, a byte below 0x80 is always the ASCII character, so that the end of a line is one wherever reading starts.
_SAFE_TO_TAIL = ("utf-8", "ascii", "iso8859", "cp125", "koi8", "mac-roman")


class CsvOptions(FileOptions):
    """How the files are written; the defaults are RFC 4180 in UTF-8 with a header."""

    delimiter: str | None = None
    """One ASCII character, or ``tab``, or ``auto`` to find it in the file's beginning; by default a comma, and a tab
    for ``.tsv`` files."""
    quote_char: str | None = '"'
    """What a cell may be wrapped in; null says that quotes are ordinary characters."""
    escape_char: str | None = None
    """What makes the next character an ordinary one."""
    double_quote: bool = True
    """Two quotes in a quoted cell stand for one."""
    encoding: str = "utf-8"
    """Any encoding that Python knows; a byte order mark is left out."""
    header: bool | list[str] = True
    """Whether the first line names the columns; a list names them where no line does, false calls them column_1 …"""
    skip_rows: int = Field(default=0, ge=0)
    """Lines to leave out before the header."""
    null_values: list[str] = Field(default_factory=list)
    """Spellings of null beside the empty cell. Quoted, they are text in text columns and null in others."""
    true_values: list[str] = Field(default_factory=list)
    """Spellings of true, in place of ``true`` and ``1``."""
    false_values: list[str] = Field(default_factory=list)
    """Spellings of false, in place of ``false`` and ``0``."""
    decimal_point: str = "."
    """The character before a number's decimals."""
    timestamp_formats: list[str] = Field(default_factory=list)
    """Formats of times in ``strptime``'s letters, tried in order before ISO 8601."""
    max_record_mb: int = Field(default=64, ge=1, le=1024)
    """The longest record; a quote that is never closed would make one of the whole file."""

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            return codecs.lookup(value).name
        except LookupError as error:
            raise ValueError(f"there is no encoding {value}; try utf-8, latin-1, cp1252 or utf-16") from error

    @field_validator("delimiter")
    @classmethod
    def _is_spelt_out(cls, value: str | None) -> str | None:
        return None if value is None else _NAMED.get(value, value)

    @model_validator(mode="after")
    def _is_unambiguous(self) -> Self:
        signs = {"quote_char": self.quote_char, "escape_char": self.escape_char, "decimal_point": self.decimal_point}
        if self.delimiter not in (None, "auto"):
            signs["delimiter"] = self.delimiter
        for name, sign in signs.items():
            if sign is not None and (len(sign) != 1 or not sign.isascii() or sign in "\r\n\0"):
                raise ValueError(f"{name} must be one ASCII character, it is {sign!r}")
        marks = [sign for name, sign in signs.items() if sign is not None and name != "decimal_point"]
        if len(set(marks)) < len(marks):
            raise ValueError("delimiter, quote_char and escape_char must differ; for doubled quotes, double_quote")
        if isinstance(self.header, list) and (not self.header or len(set(self.header)) < len(self.header)):
            raise ValueError("header must name one column or more, each once")
        return self

    @property
    def can_be_tailed(self) -> bool:
        """Say whether bytes after a line's end can be decoded on their own."""
        return self.encoding.startswith(_SAFE_TO_TAIL)

    def dialect(self, delimiter: str) -> Dialect:
        """Give the signs that structure a file, the delimiter being known."""
        return Dialect(
            delimiter=delimiter,
            quote_char=self.quote_char,
            escape_char=self.escape_char,
            double_quote=self.double_quote,
        )
