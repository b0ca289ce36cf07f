"""Specs: validated settings without torch. In goes a mapping, out comes a frozen pydantic object or one clear sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from vitscope._core.errors import ConfigError
from vitscope._core.suggest import did_you_mean

AnySpec = TypeVar("AnySpec", bound="Spec")  # not typing.Self, which beartype refuses on methods


class Spec(BaseModel):
    """Base of all settings: unknown keys are refused, values are validated, objects are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        """A validated spec.

        Raises:
            ConfigError: as `parse`.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(explain_validation_error(error, type(self), "")) from None

    # pydantic's own mark: specs inside specs are validated past this method, so that a sentence names the whole path
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

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

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: Any) -> Any:  # ValidationInfo, which beartype refuses
        """`true` is 1 for pydantic; here only a field that says so itself takes it for a number."""
        field = cls.model_fields[info.field_name]
        kinds = _kinds(field.annotation)
        if bool in kinds or not kinds & {int, float} or any(isinstance(m, BeforeValidator) for m in field.metadata):
            return value
        if isinstance(value, bool):
            raise PydanticCustomError("number", "expected a number")
        if isinstance(value, list | tuple) and any(isinstance(part, bool) for part in value):
            raise PydanticCustomError("number", "expected numbers")
        return value

    def changed(self: AnySpec, **changes: Any) -> AnySpec:
        """A validated copy with some settings changed."""
        return type(self).parse({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in YAML and JSON."""
        return self.model_dump(mode="json")


def _kinds(annotation: Any) -> set[type]:
    """The types that an annotation is made of."""
    if isinstance(annotation, type) and not get_args(annotation):
        return {annotation}
    inner = [_kinds(part) for part in get_args(annotation)]
    return set().union(*inner) if inner else {type(annotation)}  # a choice of a Literal


_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text in quotes",
    "string_too_short": "some text",
    "tuple_type": "a list",
    "too_long": "a shorter list",
}


def explain_validation_error(error: ValidationError, spec: type[BaseModel], where: str) -> str:
    """One sentence for what is wrong, unknown keys first: which key, what was given, what was expected."""
    found = error.errors(include_url=False)
    # a misspelt key is the reason why another is missing
    first = next((e for e in found if e["type"] in ("extra_forbidden", "invalid_key")), found[0])
    kind, given = first["type"], _shown(first["input"])
    path = [str(part) for part in first["loc"]]
    key = ".".join(([where] if where else []) + path)
    if kind in ("extra_forbidden", "invalid_key"):
        known = _keys_at(spec, path[:-1])
        hint = did_you_mean(path[-1], known) or f"; known keys here: {', '.join(sorted(known))}"
        return f"unknown key '{key}'{hint}"
    if path[-1:] == ["[key]"]:
        return f"unknown key '{key.removesuffix('.[key]')}'; keys are words"
    if kind == "missing":
        if isinstance(first["loc"][-1], int):
            return f"{key.rpartition('.')[0]} is {given}, expected a longer list"
        return f"'{key}' is missing and has no default; give it a value"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind == "value_error":
        return f"{key}: {message}" if key else message
    if kind == "literal_error":
        allowed = str(first.get("ctx", {}).get("expected", ""))
        words = [w.strip(" '") for w in allowed.replace(" or ", ", ").split(",")]
        return f"{key} is {given}, expected one of {allowed}{did_you_mean(str(first['input']), words)}"
    if kind in _EXPECTED:
        message = f"expected {_EXPECTED[kind]}"
    elif kind.startswith(("greater_than", "less_than")):
        message = f"expected a number {message.removeprefix('Input should be ')}"
    elif kind == "model_type":
        message = f"expected settings such as {{{_keys_at(spec, path)[0]}: …}}"
    return f"{key} is {given}, {message[0].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    """A value as it stands in YAML, where that differs from Python."""
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else repr(value)


def _keys_at(spec: type[BaseModel], path: list[str]) -> list[str]:
    """The keys that exist at a nested place of a spec."""
    for part in path:
        field = spec.model_fields.get(part)
        inner = [kind for kind in _kinds(field.annotation) if issubclass(kind, BaseModel)] if field is not None else []
        if inner:
            spec = inner[0]
    return list(spec.model_fields)
