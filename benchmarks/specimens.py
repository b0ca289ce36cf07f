"""The curves of good-vit, of bad-vit with every fault it may have, and of bad-vit mended: one recipe, one data order, the same seeds.

In go a data source, arms and seeds; out come a run folder for each training and `curves.json`, with the accuracy on the test images after every
epoch. An arm is `good-vit`, `repaired` (bad-vit as the doctor examines it and `vitscope compare` mends it) or a fault of bad-vit. What
`curves.json` has is not done again, so a study that was stopped, or one that begins from a file kept elsewhere, goes on.

    OMP_NUM_THREADS=1 python benchmarks/specimens.py --data cifar10 --seeds 0 1 2 --arms good-vit batch-mixing none --out runs/specimens
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitscope._core.files import write_json
from vitscope.doctor.examine import diagnose
from vitscope.model.specimens.faults import FAULT_EFFECTS
from vitscope.race.repair import mended
from vitscope.recipes.load import load_recipe
from vitscope.recipes.measure import finish
from vitscope.recipes.run import prepare_run, train_run
from vitscope.runs import RunFolder, environment, read_metrics

ARMS = ("good-vit", "repaired", *FAULT_EFFECTS)
KEPT = ("vitscope", "python", "packages", "platform", "cpu", "cores", "threads", "memory", "date")


def main() -> None:
    """Trains what is missing, and writes down every training as it ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--duration", default="4ep")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    file = words.out / "curves.json"
    for arm in words.arms:
        for seed in words.seeds:
            kept = json.loads(file.read_text()) if file.exists() else {"rows": []}
            if any((row["arm"], row["seed"], row["duration"]) == (arm, seed, words.duration) for row in kept["rows"]):
                continue
            row = one(arm, seed, words.data, words.duration, words.out / f"{arm}-{seed}-{words.duration}")
            write_json(file, summary([*kept["rows"], row]))
            print(json.dumps(row), flush=True)


def one(arm: str, seed: int, data: str, duration: str, target: Path) -> dict[str, Any]:
    """One training, or what it came to if it is finished already."""
    model = "good-vit" if arm == "good-vit" else "bad-vit" if arm == "repaired" else f"bad-vit:{arm}"
    changes = [f"name={arm}", f"model={{name: '{model}'}}", f"train.duration={duration}", f"train.seed={seed}"]
    resume = (target / "recipe.yaml").exists()
    with RunFolder.claim(target, resume) as folder:
        prepared = prepare_run(load_recipe("good-vit-cifar10", changes=changes, source=data), folder)
        done = put_right(prepared.ingredients.model) if arm == "repaired" else None
        if folder.status() != "finished":
            train_run(prepared, resume=resume)
            finish(folder, prepared.ingredients.data.val, prepared.reference, "en")
        rows = read_metrics(folder.metrics)
    return {
        "arm": arm,
        "seed": seed,
        "duration": duration,
        **({"mend": done} if done else {}),
        "val_acc": [row.val_acc for row in rows],
        "train_acc": [row.train_acc for row in rows],
        "train_loss": [row.train_loss for row in rows],
    }


def put_right(model: nn.Module) -> str:
    """Mends in the model itself what the doctor finds in it, as `vitscope compare` mends a copy; returns what was done."""
    found = diagnose(model, image_size=32, num_classes=10, checks=["input-blindness"])
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = mended(model, found.findings[0], images)
    assert whole is not None, "the doctor's first finding has a mend"
    for (_, mine), (_, theirs) in zip(model.named_modules(), whole.model.named_modules(), strict=True):
        if isinstance(mine, nn.MultiheadAttention):
            mine.batch_first = theirs.batch_first
    return whole.done.en


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Every training, and the last epochs of each arm over its seeds."""
    last: dict[str, list[float]] = {}
    for row in rows:
        last.setdefault(f"{row['arm']}, {row['duration']}", []).append(row["val_acc"][-1])
    return {
        "recipe": "good-vit-cifar10",
        "last_epoch": {
            arm: {
                "seeds": len(values),
                "mean": round(statistics.mean(values), 2),
                "deviation": round(statistics.stdev(values), 2) if len(values) > 1 else None,
            }
            for arm, values in last.items()
        },
        "rows": rows,
        "environment": {key: value for key, value in environment().items() if key.split("_")[0] in KEPT},
    }


if __name__ == "__main__":
    main()
