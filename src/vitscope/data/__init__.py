"""Images and labels, whatever they come from. In goes a `DataSpec`, out come uint8 tables and batches.

`spec` says which data; `sources/` holds one small file a source; `cache` decodes once into a memory-mapped file; `open_data`
puts them together; `BatchLoader` iterates. Names are fetched on first use: `vitscope.data.spec` alone loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitscope.data.cache import cache_root
    from vitscope.data.items import is_item, open_item
    from vitscope.data.loader import BatchLoader
    from vitscope.data.opening import open_data, open_split, peek
    from vitscope.data.sources import SOURCE_NAMES
    from vitscope.data.sources.base import SourceFacts
    from vitscope.data.spec import DataSpec
    from vitscope.data.table import DataSplits, ImageTable, mean_std

__all__ = [
    "SOURCE_NAMES",
    "BatchLoader",
    "DataSpec",
    "DataSplits",
    "ImageTable",
    "SourceFacts",
    "cache_root",
    "is_item",
    "mean_std",
    "open_data",
    "open_item",
    "open_split",
    "peek",
]

_HOME = {
    "SOURCE_NAMES": "sources",
    "BatchLoader": "loader",
    "DataSpec": "spec",
    "DataSplits": "table",
    "ImageTable": "table",
    "SourceFacts": "sources.base",
    "cache_root": "cache",
    "is_item": "items",
    "mean_std": "table",
    "open_data": "opening",
    "open_item": "items",
    "open_split": "opening",
    "peek": "opening",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
