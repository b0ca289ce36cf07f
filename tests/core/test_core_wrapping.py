"""Paragraphs in lines: nothing is lost, nothing is wider than it may be, and nothing breaks where a reader would stumble."""

from __future__ import annotations

import pytest

from vitscope._core.wrapping import NOT_FIRST, NOT_LAST, cells, wrapped

JA = (
    "アテンションがバッチ方向に計算されており（blocks.0.attn、blocks.1.attn）、"
    "「クラストークン」はほかの画像のクラストークンとしか情報をやり取りしません。"
)
EN = "Say --image-size S and see docs/lab-notes.md: 10.3 % of input-blindness is an out-of-the-way case."


@pytest.mark.parametrize("width", range(24, 100, 5))
@pytest.mark.parametrize("text", [JA, EN])
def test_lines_are_no_wider_than_asked_and_lose_nothing(text: str, width: int) -> None:
    lines = wrapped(text, width, first="  ", rest="    ")
    assert all(cells(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert lines[0].startswith("  ")
    assert all(line.startswith("    ") for line in lines[1:])


@pytest.mark.parametrize("width", range(24, 100))
def test_japanese_breaks_where_it_may(width: int) -> None:
    lines = [line.strip() for line in wrapped(JA, width)]
    assert not any(line[0] in NOT_FIRST for line in lines[1:])
    assert not any(line[-1] in NOT_LAST for line in lines[:-1])


@pytest.mark.parametrize("width", range(24, 100))
def test_english_breaks_at_spaces_only(width: int) -> None:
    words = [word for line in wrapped(EN, width) for word in line.split()]
    assert words == EN.split()
    assert not any(line.startswith("%") for line in wrapped(EN, width))


def test_what_is_wider_than_a_line_stands_alone() -> None:
    assert wrapped("a " + "b" * 30 + " c", 24) == ["a", "b" * 30, "c"]
    assert wrapped("", 24, first="  ") == ["  "]
