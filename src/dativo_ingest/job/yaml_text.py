"""Plain data as YAML text that reads back the same by YAML 1.1 and by YAML 1.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from dativo_ingest.job.yaml_nodes import plain_value


def yaml_text(data: Mapping[str, Any]) -> str:
    """Write a mapping, its keys in their order; text that looks like something else is quoted."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Quotes also what only YAML 1.2 reads as no text, such as ``1e3``; of YAML 1.1 PyYAML knows."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(plain_value(text), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
