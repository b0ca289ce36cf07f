"""What the position embedding of good-vit is worth: the same recipe, data order and seeds with it and without it.

In go a data source and seeds; out come a run folder for each training and `position.json`: the accuracy of the last epoch, the
difference seed by seed, and what shuffling the patches does to the scores of test images before and after training. Without means: the
table stands at zero and is not trained; everything else, start values and random draws included, is the same. Trainings that are
finished are not done again, so a study that was stopped goes on.

    OMP_NUM_THREADS=1 python benchmarks/position.py --data cifar10 --duration 4ep --seeds 0 1 2 --out runs/position
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from vitscope._core.files import write_json
from vitscope.recipes.load import load_recipe
from vitscope.recipes.measure import finish
from vitscope.recipes.run import prepare_run, train_run
from vitscope.runs import RunFolder, environment, read_metrics
from vitscope.train.checkpoint import load_weights

ARMS = ("with", "without")
SHUFFLED_IMAGES = 1000


def main() -> None:
    """Trains what is missing, then counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--duration", default="4ep")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in words.seeds:
        rows += [one(arm, seed, words.data, words.duration, words.out / f"{arm}-{seed}") for arm in ARMS]
        write_json(words.out / "position.json", summary(rows, words.duration))
        print(json.dumps(summary(rows, words.duration)["difference"]), flush=True)


def one(arm: str, seed: int, data: str, duration: str, target: Path) -> dict[str, Any]:
    """One training, or what it came to if it is finished already."""
    changes = [f"name=good-vit-{arm}-position", f"train.duration={duration}", f"train.seed={seed}"]
    resume = (target / "recipe.yaml").exists()
    with RunFolder.claim(target, resume) as folder:
        prepared = prepare_run(load_recipe("good-vit-cifar10", changes=changes, source=data), folder)
        model = prepared.ingredients.model
        if arm == "without":
            taken_away(model)
        images, val = prepared.ingredients.preprocessing, prepared.ingredients.data.val
        batches = [pixels for pixels, _ in prepared.ingredients.val_batches()]
        inputs = images.normalise(torch.cat(batches)[:SHUFFLED_IMAGES])
        labels = torch.as_tensor(val.labels[: len(inputs)])
        before = shuffled(model, inputs, labels)
        if folder.status() != "finished":
            train_run(prepared, resume=resume)
            finish(folder, val, prepared.reference, "en")
        load_weights(folder.weights, model)
        rows = read_metrics(folder.metrics)
        return {
            "arm": arm,
            "seed": seed,
            "val_acc": [row.val_acc for row in rows],
            "untrained": before,
            "trained": shuffled(model, inputs, labels),
        }


def taken_away(model: nn.Module) -> None:
    """The table of positions at zero, and not trained."""
    table = model.get_parameter("pos_embedding")
    table.requires_grad_(False)
    table.zero_()


@torch.no_grad()
def shuffled(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, float]:
    """What the same images with their 4×4 patches in another order (one order for all) do to scores, predictions and accuracy."""
    model.eval()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    cut = rearrange(inputs, "b c (h p) (w q) -> b (h w) c p q", p=4, q=4)[:, order]
    mixed = rearrange(cut, "b (h w) c p q -> b c (h p) (w q)", h=8)
    as_is, other = (torch.cat([model(part) for part in images.split(250)]) for images in (inputs, mixed))
    return {
        "images": len(labels),
        "accuracy": 100 * float((as_is.argmax(1) == labels).double().mean()),
        "accuracy_shuffled": 100 * float((other.argmax(1) == labels).double().mean()),
        "predictions_changed": 100 * float((as_is.argmax(1) != other.argmax(1)).double().mean()),
        "largest_change_of_a_score": float((as_is - other).abs().max()),
        "spread_of_scores": float(as_is.std()),
    }


def summary(rows: list[dict[str, Any]], duration: str) -> dict[str, Any]:
    """The difference of the last epochs, seed by seed."""
    last = {(row["arm"], row["seed"]): row["val_acc"][-1] for row in rows}
    differences = [last["with", seed] - last["without", seed] for arm, seed in last if arm == "without"]
    kept = ("vitscope", "python", "packages", "platform", "cpu", "cores", "threads", "memory", "date")
    return {
        "recipe": "good-vit-cifar10",
        "duration": duration,
        "difference": {
            "seeds": len(differences),
            "points": [round(d, 2) for d in differences],
            "mean": round(statistics.mean(differences), 2),
            "deviation": round(statistics.stdev(differences), 2) if len(differences) > 1 else None,
        },
        "rows": rows,
        "environment": {key: value for key, value in environment().items() if key.split("_")[0] in kept},
    }


if __name__ == "__main__":
    main()
