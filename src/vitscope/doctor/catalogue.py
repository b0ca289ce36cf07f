"""All faults that the doctor knows, by check: `python -m vitscope.doctor.catalogue > docs/failure-modes.md` writes them down in both languages."""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module

from vitscope import doctor
from vitscope.doctor.finding import Fault


def faults() -> tuple[Fault, ...]:
    """Every fault, by check and then by its number in the catalogue."""
    found: dict[str, Fault] = {}
    for module in pkgutil.walk_packages(doctor.__path__, f"{doctor.__name__}."):
        for value in vars(import_module(module.name)).values():
            for each in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,):
                if isinstance(each, Fault):
                    found[each.id] = each
    return tuple(sorted(found.values(), key=lambda fault: (fault.check, fault.mode, fault.id)))


def page() -> str:
    """The catalogue as Markdown."""
    lines = [
        "# What the doctor finds / doctorが見つける問題",
        "",
        "Written by `python -m vitscope.doctor.catalogue`. M: the model, I: its start values, D: data, L: the loop, E: evaluation, G: gradients.",
        "Severity is the usual one; where something depends on the case, a finding may be graver or lighter.",
        "",
        "M：モデル、I：初期値、D：データ、L：学習ループ、E：評価、G：勾配。error：エラー、warning：警告、note：参考。重大度は通常の場合のもので、状況により変わります。",
    ]
    check = ""
    for fault in faults():
        if fault.check != check:
            check = fault.check
            lines += ["", f"## {check}"]
        lines += ["", f"### {fault.id} ({fault.mode}, {fault.severity})", "", fault.why.en, "", fault.why.ja, ""]
        lines += [f"- Fix: {fault.advice.en}", f"- 対処: {fault.advice.ja}"]
        if fault.code:
            lines += ["", "```python", fault.code, "```"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
