"""Lets torchvision be imported beside a torch that its compiled operators do not fit: their names are declared, empty.

torchvision's wheel is linked against one torch; beside a CPU-only one its operators may not load, and then `import torchvision` fails at
the first Python function that wants to describe one (`torchvision::nms`), and with it timm and much of transformers. No ViT uses these
operators. A definition without a kernel lets the import go through; whoever would call one gets torch's own error. For the processes of
the bench and for tests only: nothing else in the package imports this file.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec

import torch

DEFINITIONS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""What torchvision describes in Python at import whether its operators are there or not."""
_kept: list[torch.library.Library] = []
"""A library that is collected takes its names with it."""


def make_torchvision_importable() -> bool:
    """Imports torchvision, with empty definitions where the real operators cannot be loaded; whether it can be imported now.

    Where torchvision imports by itself nothing is declared.
    """
    if find_spec("torchvision") is None:
        return False
    if _imports():
        return True
    if not _kept:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for definition in DEFINITIONS:
            library.define(definition)  # type: ignore[no-untyped-call]
        _kept.append(library)
    return _imports()


def _imports() -> bool:
    try:
        importlib.import_module("torchvision")
    except Exception:  # what a half-made import raises is not in our hands
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        return False
    return True
