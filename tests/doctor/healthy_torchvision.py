from __future__ import annotations

from healthy_case import Healthy

CASES: list[Healthy] = []
