"""Images as ``docker load`` and ``podman load`` take them, the same bytes for the same files.

An image's id is the hash of its configuration, which has the hashes of its layers: who builds it from the same files
gets the same id, on any machine, and a policy may pin it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from image_files import ImageFiles, architecture

_EPOCH = "1970-01-01T00:00:00Z"
_FILE = 0o644
_PROGRAM = 0o755
_ANYBODY = 0o1777


@dataclass(frozen=True)
class Image:
    """What an image is, beside its files.

    Attributes:
        name: As people call it: ``dativo/plugin-runner:0.1.0``.
        config: As the OCI image specification has it under ``config``.
    """

    name: str
    config: Mapping[str, Any]


def write_rootfs(layers: Sequence[ImageFiles], target: IO[bytes]) -> None:
    """Write all files into one tar archive."""
    whole = ImageFiles()
    for layer in layers:
        whole.files |= layer.files
        whole.texts |= layer.texts
        whole.links |= layer.links
    _write_layer(whole, target)


def write_archive(image: Image, layers: Sequence[ImageFiles], target: IO[bytes]) -> str:
    """Write an image that can be loaded, and give its id."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=target, mode="w") as archive:
        digests = []
        for number, layer in enumerate(layers):
            place = Path(folder, str(number))
            with place.open("w+b") as written:
                _write_layer(layer, written)
                written.seek(0)
                digests.append(hashlib.file_digest(written, "sha256").hexdigest())
                written.seek(0)
                _add(archive, f"{digests[-1]}.tar", written, place.stat().st_size)
            place.unlink()
        config = _text(_config(image, digests))
        digest = hashlib.sha256(config).hexdigest()
        manifest = [
            {"Config": f"{digest}.json", "RepoTags": [image.name], "Layers": [f"{each}.tar" for each in digests]}
        ]
        for name, text in ((f"{digest}.json", config), ("manifest.json", _text(manifest))):
            _add(archive, name, io.BytesIO(text), len(text))
    return f"sha256:{digest}"


def _config(image: Image, digests: Sequence[str]) -> dict[str, Any]:
    return {
        "architecture": architecture(),
        "os": "linux",
        "created": _EPOCH,
        "config": dict(image.config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created": _EPOCH, "created_by": "deploy/images"} for _ in digests],
    }


def _text(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _write_layer(layer: ImageFiles, target: IO[bytes]) -> None:
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in layer.folders():
            _add_special(archive, name, tarfile.DIRTYPE, _ANYBODY if name == "tmp" else _PROGRAM)
        for name, path in sorted(layer.files.items()):
            is_program = ".so" in path.name or bool(path.stat().st_mode & 0o111)
            with path.open("rb") as content:
                _add(archive, name, content, path.stat().st_size, mode=_PROGRAM if is_program else _FILE)
        for name, text in sorted(layer.texts.items()):
            _add(archive, name, io.BytesIO(text), len(text))
        for name, leads_to in sorted(layer.links.items()):
            _add_special(archive, name, tarfile.SYMTYPE, 0o777, leads_to)


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], size_bytes: int, mode: int = _FILE) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size_bytes, mode
    archive.addfile(entry, content)


def _add_special(archive: tarfile.TarFile, name: str, kind: bytes, mode: int, leads_to: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = kind, mode, leads_to
    archive.addfile(entry)
