"""YAML as recipes need it: text in, plain values out, and no key that quietly takes the place of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from vitscope._core.errors import ConfigError

_IN_WORDS = {type(None): "nothing", list: "a list", str: "text"}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which by itself keeps the last of several equal keys and drops the others."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuses a second key here, where what `<<` merges in, and the mapping may replace, is not among its own keys yet."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[Any, Any], int] = {}
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in lines:
                said = f"'{key.value}' stands at line {lines[name]} already"
                raise yaml.constructor.ConstructorError(problem=said, problem_mark=key.start_mark)
            lines[name] = key.start_mark.line + 1
        return node


def read_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        YAMLError: it is none, or a mapping in it has a key twice.
    """
    return yaml.load(text, _Loader)


def what_is_wrong(error: yaml.YAMLError) -> str:
    """A YAML error in a few words."""
    return str(getattr(error, "problem", None) or "unreadable")


def read_mapping(text: str, where: str) -> dict[str, Any]:
    """The keys and values of a YAML text.

    Raises:
        ConfigError: it is no YAML, has a key twice, or holds something else.
    """
    try:
        values = read_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{where} is not valid YAML{line} ({what_is_wrong(error)}); mend the file") from None
    if not isinstance(values, Mapping):
        held = _IN_WORDS.get(type(values), repr(values))
        raise ConfigError(f"{where} holds {held}, expected keys such as model:, data:, train:")
    for key in values:
        if not isinstance(key, str):
            raise ConfigError(f"{where} has the key {key!r}, expected words such as model, data, train")
    return dict(values)
