"""vitscope: build, train, look inside, diagnose and hand over Vision Transformers.

Importing this costs nothing: torch and the rest load when a name that needs them is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vitscope._core.errors import VitscopeError as VitscopeError
    from vitscope.doctor.examination import Examination as Examination
    from vitscope.doctor.examine import diagnose as diagnose
    from vitscope.doctor.loop.watch import watch as watch
    from vitscope.lens.trace import Trace as Trace
    from vitscope.lens.trace import trace as trace
    from vitscope.lens.trace import tracing as tracing
    from vitscope.model.create import create_model as create_model
    from vitscope.model.create import resized as resized
    from vitscope.model.spec import ViTSpec as ViTSpec
    from vitscope.race.comparing import compare as compare
    from vitscope.race.comparison import Comparison as Comparison
    from vitscope.recipes.trained import load as load
    from vitscope.train.fit import fit as fit
    from vitscope.train.spec import TrainSpec as TrainSpec

_HOME = {
    "Comparison": "vitscope.race.comparison",
    "Examination": "vitscope.doctor.examination",
    "Trace": "vitscope.lens.trace",
    "TrainSpec": "vitscope.train.spec",
    "ViTSpec": "vitscope.model.spec",
    "VitscopeError": "vitscope._core.errors",
    "compare": "vitscope.race.comparing",
    "create_model": "vitscope.model.create",
    "diagnose": "vitscope.doctor.examine",
    "fit": "vitscope.train.fit",
    "load": "vitscope.recipes.trained",
    "resized": "vitscope.model.create",
    "trace": "vitscope.lens.trace",
    "tracing": "vitscope.lens.trace",
    "watch": "vitscope.doctor.loop.watch",
}
__all__ = [
    "Comparison",
    "Examination",
    "Trace",
    "TrainSpec",
    "ViTSpec",
    "VitscopeError",
    "__version__",
    "compare",
    "create_model",
    "diagnose",
    "fit",
    "load",
    "resized",
    "trace",
    "tracing",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'vitscope' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
