"""Plain data as YAML text that reads back the same by YAML 1.1 and by YAML 1.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from dativo_ingest.job.yaml_nodes import plain_value

_ESCAPED = "\\U000"


def yaml_text(data: Mapping[str, Any]) -> str:
    """Write a mapping, its keys in their order; text that looks like something else is quoted."""
    text = _dumped(data, _FastDumper)
    # libyaml escapes what is beyond the 65,536th character, such as an emoji, which PyYAML's own writes as it is.
    return _dumped(data, _Dumper) if _ESCAPED in text else text


def _dumped(data: Mapping[str, Any], dumper: Any) -> str:
    return str(yaml.dump(data, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120))


class _Dumper(yaml.SafeDumper):
    """Quotes also what only YAML 1.2 reads as no text, such as ``1e3``; of YAML 1.1 PyYAML knows."""


class _FastDumper(yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper):  # type: ignore[misc]  # either
    """The same in C, where there is libyaml: thousands of contracts take a while."""


def _text(dumper: Any, text: str) -> yaml.ScalarNode:
    style = None if isinstance(plain_value(text), str) else "'"
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", text, style)
    return node


_Dumper.add_representer(str, _text)
_FastDumper.add_representer(str, _text)
