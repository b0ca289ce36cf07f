"""Learning curves: reference bands, where a run stands and where it left, overfitting, and the picture of it all."""

from vitscope.curves.layout import distinct_names
from vitscope.curves.overfitting import Overfitting
from vitscope.curves.plot import NamedRun, draw
from vitscope.curves.reference import Band, ReferenceCurve, load_reference, references
from vitscope.curves.verdict import Excursion, Finding, Place, Verdict, judge, place

__all__ = [
    "Band",
    "Excursion",
    "Finding",
    "NamedRun",
    "Overfitting",
    "Place",
    "ReferenceCurve",
    "Verdict",
    "distinct_names",
    "draw",
    "judge",
    "load_reference",
    "place",
    "references",
]
