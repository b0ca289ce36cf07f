"""To be written."""

from __future__ import annotations

from collections.abc import Iterator

from vitscope.doctor.finding import Finding
from vitscope.doctor.patient import Patient


def forward(patient: Patient) -> Iterator[Finding]:
    """To be written."""
    yield from ()
