"""Secrets in files of one folder, as Kubernetes and Docker mount them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from dativo_ingest.secrets.documents import pick, split_reference
from dativo_plugin_sdk.config import PluginConfig, parse
from dativo_plugin_sdk.errors import InsufficientPermissionsError, InvalidConfigError, MissingConfigError

DEFAULT_DIRECTORY = "/run/secrets"
"""Where Docker and Podman mount secrets, and Kubernetes by habit."""
MAX_BYTES = 2**20
"""The largest secret; Kubernetes allows no larger ones."""


class FileSecretsConfig(PluginConfig):
    """``secrets: {file: {directory: …}}``."""

    directory: str | None = None
    """The folder, relative to the job file; left out, ``DATIVO_SECRETS_DIR``, else ``/run/secrets``."""


class FileSecrets:
    """Looks ``${secret:pg/password}`` up as the file ``pg/password`` under its folder.

    One line end at the end of the file is no part of the value. A path that leads out of the folder, also through a
    link, is refused; links within it, as Kubernetes makes them, are followed.
    """

    def __init__(self, config: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        directory = parse(FileSecretsConfig, dict(config), where="secrets.file").directory
        self.directory = Path(directory or environ.get("DATIVO_SECRETS_DIR") or DEFAULT_DIRECTORY)

    def get(self, reference: str) -> str:
        """Give the file's text.

        Raises:
            MissingConfigError: There is no such file, or no such key in it.
            InsufficientPermissionsError: The file may not be read.
            InvalidConfigError: The path leads out of the folder, or the file is no text of at most `MAX_BYTES`.
        """
        path, key = split_reference(reference)
        return pick(self._text(path, reference), key, reference)

    def _text(self, path: str, reference: str) -> str:
        details = {"reference": reference}
        try:
            file = self._inside(path, reference)
            with file.open("rb") as opened:
                raw = opened.read(MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            message = f"secret {reference!r}: there is no file {path!r} in {self.directory}"
            hint = None if self.directory.is_dir() else f"there is no folder {self.directory}: set DATIVO_SECRETS_DIR"
            raise MissingConfigError(message, details=details, hint=hint) from error
        except IsADirectoryError as error:
            raise MissingConfigError(
                f"secret {reference!r}: {path!r} in {self.directory} is a folder, name a file in it", details=details
            ) from error
        except PermissionError as error:
            raise InsufficientPermissionsError(
                f"secret {reference!r}: the file {path!r} in {self.directory} may not be read", details=details
            ) from error
        except (OSError, ValueError) as error:
            raise InvalidConfigError(
                f"secret {reference!r}: it cannot be read from {self.directory} ({type(error).__name__})",
                details=details,
            ) from error
        if len(raw) > MAX_BYTES:
            raise InvalidConfigError(f"secret {reference!r}: larger than {MAX_BYTES} bytes", details=details)
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            # Not `from` the error: it holds the bytes.
            raise InvalidConfigError(f"secret {reference!r}: the file is not UTF-8 text", details=details) from None
        return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text

    def _inside(self, path: str, reference: str) -> Path:
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts:
            raise self._outside(reference)
        real = os.path.realpath(self.directory / parts)
        root = os.path.realpath(self.directory)
        if os.path.commonpath([root, real]) != root:
            raise self._outside(reference)
        return Path(real)

    def _outside(self, reference: str) -> InvalidConfigError:
        return InvalidConfigError(
            f"secret {reference!r}: the path leads out of the secrets' folder {self.directory}",
            details={"reference": reference},
            hint="write a path relative to that folder; ${file:…} reads any file",
        )
