"""Specs: validated settings without torch. In goes a mapping, out comes a frozen pydantic object or one clear sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from vitscope._core.errors import ConfigError
from vitscope._core.suggest import did_you_mean

AnySpec = TypeVar("AnySpec", bound="Spec")  # not typing.Self, which beartype refuses on methods


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("number", "expected a number")
    return value


NotBool = BeforeValidator(_no_truth)
"""For a field of numbers: `true` is not 1 there, as it is for pydantic."""


class Spec(BaseModel):
    """Base of all settings: unknown keys are refused, values are validated, objects are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def parse(cls: type[AnySpec], values: Mapping[str, Any], where: str = "") -> AnySpec:
        """A validated spec.

        Args:
            values: the settings as read from YAML or given by a caller.
            where: prefix of the key in messages, e.g. `train`.

        Raises:
            ConfigError: a key does not exist (with the nearest that does) or a value is not allowed.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(explain_validation_error(error, cls, where)) from None

    def changed(self: AnySpec, **changes: Any) -> AnySpec:
        """A validated copy with some settings changed."""
        return type(self).parse({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in YAML and JSON."""
        return self.model_dump(mode="json")


def explain_validation_error(error: ValidationError, spec: type[BaseModel], where: str) -> str:
    """One sentence for the first thing that is wrong: which key, what was given, what was expected."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(([where] if where else []) + path) or where or "settings"
    if first["type"] == "extra_forbidden":
        known = _keys_at(spec, path[:-1])
        hint = did_you_mean(path[-1], known) or f"; known keys here: {', '.join(sorted(known))}"
        return f"unknown key '{key}'{hint}"
    if first["type"] == "missing":
        return f"'{key}' is missing and has no default; give it a value"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if first["type"] == "value_error":
        return f"{key}: {message}"
    if first["type"] == "literal_error":
        allowed = str(first.get("ctx", {}).get("expected", ""))
        words = [w.strip(" '") for w in allowed.replace(" or ", ", ").split(",")]
        return f"{key} is {first['input']!r}, expected one of {allowed}{did_you_mean(str(first['input']), words)}"
    return f"{key} is {first['input']!r}: {message[0].lower()}{message[1:]}"


def _keys_at(spec: type[BaseModel], path: list[str]) -> list[str]:
    """The keys that exist at a nested place of a spec."""
    for part in path:
        field = spec.model_fields.get(part)
        if field is None:
            continue
        candidates = [a for a in (field.annotation, *get_args(field.annotation)) if isinstance(a, type)]
        inner = [a for a in candidates if issubclass(a, BaseModel)]
        if inner:
            spec = inner[0]
    return list(spec.model_fields)
