"""Secrets in the desktop's or system's keyring, through the ``keyring`` library."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from dativo_ingest.secrets.documents import pick, split_reference
from dativo_plugin_sdk.config import PluginConfig, parse
from dativo_plugin_sdk.errors import (
    InsufficientPermissionsError,
    MissingConfigError,
    ResourceError,
    ResourceNotFoundError,
)


class KeyringSecretsConfig(PluginConfig):
    """``secrets: {keyring: {service: …}}``."""

    service: str = "dativo"
    """The service under which the secrets are kept."""


class KeyringSecrets:
    """Looks ``${secret:keyring:pg/password}`` up as what ``keyring set dativo pg/password`` stored."""

    def __init__(self, config: Mapping[str, Any], environ: Mapping[str, str]) -> None:  # noqa: ARG002  every back end's
        self._service = parse(KeyringSecretsConfig, dict(config), where="secrets.keyring").service

    def get(self, reference: str) -> str:
        """Give the stored text.

        Raises:
            MissingConfigError: The keyring has no such entry, or the entry no such key.
            ResourceNotFoundError: The library is not installed, or there is no keyring here.
            InsufficientPermissionsError: The keyring is locked.
            ResourceError: The keyring failed otherwise.
        """
        path, key = split_reference(reference)
        keyring = _library()
        details = {"reference": reference, "service": self._service}
        try:
            value = keyring.get_password(self._service, path)
        except keyring.errors.NoKeyringError as error:
            raise ResourceNotFoundError(
                f"secret {reference!r}: there is no keyring here",
                details=details,
                hint="on servers and in containers, use the back ends file or env",
            ) from error
        except (keyring.errors.KeyringLocked, keyring.errors.InitError) as error:
            raise InsufficientPermissionsError(
                f"secret {reference!r}: the keyring is locked or cannot be opened", details=details
            ) from error
        except keyring.errors.KeyringError as error:
            raise ResourceError(
                f"secret {reference!r}: the keyring failed ({type(error).__name__})", details=details
            ) from error
        if value is None:
            raise MissingConfigError(
                f"secret {reference!r}: the keyring has no entry {path!r} of service {self._service!r}",
                details=details,
                hint=f"keyring set {self._service} {path}",
            )
        return pick(str(value), key, reference)


def _library() -> ModuleType:
    try:
        import keyring  # noqa: PLC0415  an extra
        import keyring.errors  # noqa: PLC0415  an extra
    except ImportError as error:
        raise ResourceNotFoundError(
            "the secret back end keyring needs the library keyring, which is not installed",
            hint="pip install 'dativo-ingest[keyring]'",
        ) from error
    return keyring
