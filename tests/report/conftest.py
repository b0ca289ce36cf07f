"""For tests of pages."""

from __future__ import annotations

import pytest

from vitscope.report.looking import exhibits, gather


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are drawn but not written out, which takes a second a page, and experiments are short."""
    monkeypatch.setattr(exhibits, "inline_svg", lambda figure: "<svg></svg>")
    monkeypatch.setattr(gather, "QUICK", 1.0)
