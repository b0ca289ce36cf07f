"""What callers tell beside the images, made sure of: in goes what was given, out comes a number, or a sentence. What a check would stumble over
later, or take for a fault of the data, is refused here."""

from __future__ import annotations

import math
from typing import Any

from vitscope._core.text import Text
from vitscope.doctor.arguments import ArgumentError, shown


def seconds_given(seconds: Any) -> float:
    """How long a pass may take.

    Raises:
        UsageError: it is no number above 0.
    """
    try:
        value = math.nan if isinstance(seconds, str | bool) else float(seconds)
    except (TypeError, ValueError, RuntimeError):
        value = math.nan
    if not value > 0:
        raise ArgumentError(
            Text(
                f"seconds is {shown(seconds)}, expected how long one pass over one set may take as a number above 0; give it, or leave seconds out",
                f"secondsに{shown(seconds)}が渡されましたが、1つのデータを1回読む時間を0より大きい数（秒）で指定する必要があります。指定するか、"
                "secondsを省略してください",
            )
        )
    return value
