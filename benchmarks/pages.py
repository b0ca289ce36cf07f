"""How long a page of one image takes: a model and an image in, seconds of each part out as JSON, imports left out.

python benchmarks/pages.py good-vit vit-b16-224 > pages.json
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import captum.attr  # noqa: F401  what follows is timed without them
import matplotlib.backends.backend_svg  # noqa: F401
import sklearn.datasets  # noqa: F401

from vitscope.data import open_item
from vitscope.recipes.subject import open_subject
from vitscope.report.looking.look import look_at
from vitscope.report.looking.page import page_of
from vitscope.runs import environment

IMAGE, ROUNDS = "sample:china", 3
KEPT = (
    "vitscope",
    "python",
    "packages",
    "platform",
    "cpu",
    "cores",
    "threads",
    "memory_bytes",
    "torch_threads",
    "git_commit",
    "date",
)


def one(model: str) -> dict[str, Any]:
    """One page, part by part."""
    begun = time.perf_counter()
    subject, item = open_subject(model), open_item(IMAGE)
    opened = time.perf_counter()
    look = look_at(subject, item.image, IMAGE)
    looked = time.perf_counter()
    page = page_of(look, "en")
    drawn = time.perf_counter()
    return {
        "open": round(opened - begun, 2),
        "look": round(looked - opened, 2),
        "page": round(drawn - looked, 2),
        "all": round(drawn - begun, 2),
        "megabytes": round(len(page.encode()) / 1e6, 2),
    }


def main() -> None:
    """Some rounds of each model; the first of a process draws its first picture, too."""
    rows = {model: [one(model) for _ in range(ROUNDS)] for model in sys.argv[1:] or ["good-vit"]}
    facts = {key: value for key, value in environment().items() if key in KEPT}
    print(json.dumps({"image": IMAGE, "rounds": rows, "environment": facts}, indent=2))


if __name__ == "__main__":
    main()
