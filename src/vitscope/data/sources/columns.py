"""Which column of a table holds the images and which the labels. In goes an Arrow schema, out come names and the labels' meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitscope._core.errors import DataError
from vitscope._core.suggest import did_you_mean
from vitscope.data.spec import DataSpec

if TYPE_CHECKING:
    import pyarrow as pa

LABEL_WORDS = ("fine_label", "label", "labels", "class", "target", "category", "y")
IMAGE_WORDS = ("image", "img", "picture", "jpg", "png")


@dataclass(frozen=True)
class Columns:
    """The image column, the label column, and the label names where the file gives them."""

    image: str
    label: str
    names: tuple[str, ...] | None

    def label_meaning(self, labels: Mapping[str, Sequence[Any]]) -> tuple[tuple[str, ...], dict[Any, int]]:
        """Label names, and the position of each value that stands in the files.

        Without names in the metadata the values themselves are the names, in ascending order over all splits.
        """
        if self.names is not None:
            return self.names, {i: i for i in range(len(self.names))}
        used = {v for values in labels.values() if self.is_labelled(values) for v in set(values)}
        if any(v is None for v in used):
            raise DataError(f"column '{self.label}' has empty cells; every image needs a label")
        ordered = sorted(used)
        if len(ordered) == 1:
            raise DataError(
                f"column '{self.label}' holds only one class, {ordered[0]!r}, expected at least two; add another class"
            )
        return tuple(str(v) for v in ordered), {v: i for i, v in enumerate(ordered)}

    def is_labelled(self, values: Sequence[Any]) -> bool:
        """False for a split whose labels are kept back (all -1 or empty)."""
        return any(v is not None and v != -1 for v in values)


def find_columns(schema: pa.Schema, where: str, spec: DataSpec) -> Columns:
    """The columns of a parquet schema.

    Raises:
        DataError: no image column or no label column, or the one asked for does not exist.
    """
    features = _features(schema)
    image = _asked(spec.image_column, "image_column", schema, where) or _image_column(schema, features)
    if image is None:
        raise DataError(f"{where} has no image column (columns: {_list(schema)}); name it with data.image_column")
    label = _asked(spec.label_column, "label_column", schema, where) or _label_column(schema, features)
    if label is None:
        raise DataError(f"{where} has no label column (columns: {_list(schema)}); name it with data.label_column")
    _check_types(schema, image, label, where)
    names = features.get(label, {}).get("names")
    return Columns(image, label, tuple(str(n) for n in names) if names else None)


def _check_types(schema: pa.Schema, image: str, label: str, where: str) -> None:
    import pyarrow.types as types

    kind = schema.field(image).type
    if not (types.is_struct(kind) or types.is_binary(kind) or types.is_large_binary(kind)):
        raise DataError(
            f"column '{image}' of {where} holds {kind}, expected encoded images; name another with data.image_column"
        )
    kind = schema.field(label).type
    if not (types.is_integer(kind) or types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind)):
        raise DataError(
            f"column '{label}' of {where} holds {kind}, expected integers or words; name another with data.label_column"
        )


def _asked(name: str | None, key: str, schema: pa.Schema, where: str) -> str | None:
    if name is not None and name not in schema.names:
        raise DataError(
            f"data.{key}: {where} has no column '{name}'{did_you_mean(name, schema.names)}; columns: {_list(schema)}"
        )
    return name


def _image_column(schema: pa.Schema, features: dict[str, Any]) -> str | None:
    import pyarrow.types as types

    told = [n for n in schema.names if features.get(n, {}).get("_type") == "Image"]
    structs = [
        f.name
        for f in schema
        if types.is_struct(f.type) and "bytes" in {f.type.field(i).name for i in range(f.type.num_fields)}
    ]
    plain = [
        f.name for f in schema if f.name in IMAGE_WORDS and (types.is_binary(f.type) or types.is_large_binary(f.type))
    ]
    return next(iter(told + structs + plain), None)


def _label_column(schema: pa.Schema, features: dict[str, Any]) -> str | None:
    import pyarrow.types as types

    told = [n for n in schema.names if features.get(n, {}).get("_type") == "ClassLabel"]
    plain = [
        f.name
        for f in schema
        if f.name in LABEL_WORDS
        and (types.is_integer(f.type) or types.is_string(f.type) or types.is_large_string(f.type))
    ]
    for candidates in (told, plain):
        if candidates:
            return min(candidates, key=lambda n: LABEL_WORDS.index(n) if n in LABEL_WORDS else len(LABEL_WORDS))
    return None


def _features(schema: pa.Schema) -> dict[str, Any]:
    """The Hugging Face features in a schema's metadata; empty where there are none or they cannot be read."""
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}


def _list(schema: pa.Schema) -> str:
    return ", ".join(schema.names)
