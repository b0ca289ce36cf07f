"""What augmentation costs: milliseconds a batch, beside kornia where it is installed, and as a share of a training step.

In go random uint8 images; out comes a table, or JSON with `--json`. The question it answers: does augmentation stay under
a tenth of a training step of the specimen ViT on a CPU (everything but RandAugment, whose cost is stated)? All cases are
measured in turn within each round, so that what else the machine does falls on all of them alike; `load_before` says how
busy it was, and a figure from a busy machine is worth little.

    python benchmarks/augmentation.py --rounds 7 --json

kornia's numbers include what it needs around it (uint8 to float before, normalisation after). Its RandAugment draws one
set of operations for the whole batch, ours one for each image.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from datetime import date
from typing import Any

import torch
from torch import Tensor, nn

from vitscope._core.preprocessing import Preprocessing
from vitscope.augment import Augmentation, AugmentSpec

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
CLASSES = 10
CASES: dict[str, dict[str, Any]] = {
    "normalise only": {},
    "crop + flip": {"crop": 4, "flip": 0.5},
    "resized crop + flip": {"random_resized_crop": (0.08, 1.0), "flip": 0.5},
    "crop + flip + erasing": {"crop": 4, "flip": 0.5, "random_erasing": 0.25},
    "crop + flip + erasing + mixup": {"crop": 4, "flip": 0.5, "random_erasing": 0.25, "mixup": 0.8},
    "crop + flip + erasing + cutmix": {"crop": 4, "flip": 0.5, "random_erasing": 0.25, "cutmix": 1.0},
    "colour jitter": {"colour_jitter": 0.4},
    "RandAugment published": {"rand_augment": {"n": 2, "m": 14, "table": "published"}},
    "RandAugment fitted": {"rand_augment": {"n": 2, "m": 14, "table": "fitted"}},
}
BATCHES = {32: 128, 224: 32}
"""Images a batch, by the side of the image in pixels."""

Task = Callable[[], object]


def ours(settings: dict[str, Any], images: Tensor, labels: Tensor) -> Task:
    normalise = Preprocessing(image_size=(images.shape[-2], images.shape[-1]), mean=MEAN, std=STD).normalise
    augmentation = Augmentation(AugmentSpec.parse(settings), CLASSES, normalise=normalise)
    generator = torch.Generator().manual_seed(0)
    return lambda: augmentation(images, labels, generator)


def by_kornia(settings: dict[str, Any], images: Tensor, labels: Tensor) -> Task | None:
    """The same steps in kornia; None where it is not installed or has no such step."""
    if settings.get("rand_augment", {}).get("table") == "published":
        return None
    try:
        from kornia import augmentation as K
        from kornia.augmentation import auto
    except ImportError:
        return None
    size = (images.shape[-2], images.shape[-1])
    steps: list[nn.Module] = []
    if "rand_augment" in settings:
        steps.append(auto.RandAugment(n=settings["rand_augment"]["n"], m=settings["rand_augment"]["m"]))
    if "crop" in settings:
        steps.append(K.RandomCrop(size, padding=settings["crop"]))
    if "random_resized_crop" in settings:
        steps.append(K.RandomResizedCrop(size, scale=settings["random_resized_crop"]))
    if "flip" in settings:
        steps.append(K.RandomHorizontalFlip(p=settings["flip"]))
    if "colour_jitter" in settings:
        amount = settings["colour_jitter"]
        steps.append(K.ColorJitter(amount, amount, amount, 0.0, p=1.0))
    if "random_erasing" in settings:
        steps.append(K.RandomErasing(p=settings["random_erasing"]))
    steps.append(K.Normalize(torch.tensor(MEAN), torch.tensor(STD)))
    pipeline = K.AugmentationSequential(*steps, data_keys=["input"]).to(images.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        keys = ["input", "class"]
        mix = None
        if "mixup" in settings:
            mix = K.RandomMixUpV2(data_keys=keys, p=1.0)
        elif "cutmix" in settings:
            mix = K.RandomCutMixV2(data_keys=keys, p=1.0)

    def task() -> object:
        out = pipeline(images.to(torch.float32).div_(255))
        return out if mix is None else mix(out, labels)

    return task


def training_step(images: Tensor, labels: Tensor) -> Task:
    """One step of the specimen under AdamW with bf16 autocast, on images that are already normalised."""
    from vitscope import create_model

    model = create_model("good-vit").to(images.device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    inputs = images.to(torch.float32).div_(255)

    def task() -> object:
        optimiser.zero_grad()
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimiser.step()
        return loss

    return task


def measure(tasks: dict[str, Task], rounds: int, repeats: dict[str, int], device: torch.device) -> dict[str, float]:
    """Median milliseconds of each task over the rounds; a round's figure is the mean of its repeats."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    times: dict[str, list[float]] = {name: [] for name in tasks}
    for round_ in range(rounds + 1):
        for name, task in tasks.items():
            count = repeats.get(name, 1)
            wait()
            start = time.perf_counter()
            for _ in range(count):
                task()
            wait()
            if round_:  # the first round warms up
                times[name].append((time.perf_counter() - start) * 1000 / count)
    return {name: statistics.median(each) for name, each in times.items()}


def run(side: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """All cases at one image size."""
    device = torch.device(arguments.device)
    generator = torch.Generator().manual_seed(0)
    B = BATCHES[side]
    images = torch.randint(0, 256, (B, 3, side, side), generator=generator, dtype=torch.uint8).to(device)
    labels = torch.randint(CLASSES, (B,), generator=generator).to(device)
    tasks: dict[str, Task] = {}
    for name, settings in CASES.items():
        tasks[name] = ours(settings, images, labels)
        if (peer := by_kornia(settings, images, labels)) is not None:
            tasks[f"kornia: {name}"] = peer
    if side == 32:
        tasks["step"] = training_step(images, labels)
    repeats = {name: 10 if side == 32 else 3 for name in tasks if name != "step"}
    found = measure(tasks, arguments.rounds, repeats, device)
    step = found.get("step")
    rows = [
        {
            "case": name,
            "ms": round(found[name], 3),
            "kornia_ms": round(found[f"kornia: {name}"], 3) if f"kornia: {name}" in found else None,
            "share_of_step": round(found[name] / step, 5) if step else None,
        }
        for name in CASES
    ]
    return {"side": side, "batch": B, "step_ms": round(step, 1) if step else None, "cases": rows}


def kornia_version() -> str | None:
    try:
        import kornia
    except ImportError:
        return None
    return str(kornia.__version__)


def show(result: dict[str, Any]) -> None:
    for size in result["sizes"]:
        step = f"; a training step of good-vit takes {size['step_ms']} ms" if size["step_ms"] else ""
        print(f"\n{size['batch']} images of 3×{size['side']}×{size['side']}{step}")
        print(f"{'':32}{'ms':>9}{'of a step':>12}{'kornia, ms':>12}")
        for row in size["cases"]:
            share = f"{row['share_of_step']:.2%}" if row["share_of_step"] is not None else ""
            peer = f"{row['kornia_ms']:.2f}" if row["kornia_ms"] is not None else ""
            print(f"{row['case']:32}{row['ms']:9.2f}{share:>12}{peer:>12}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="What augmentation costs, in milliseconds and as a share of a training step."
    )
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds; one more warms up (default: 7)")
    parser.add_argument("--sides", type=int, nargs="+", choices=sorted(BATCHES), default=sorted(BATCHES), help="pixels")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads of torch")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    result = {
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "kornia": kornia_version(),
        "device": arguments.device,
        "machine": platform.machine(),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "load_before": round(os.getloadavg()[0], 2),
        "sizes": [run(side, arguments) for side in arguments.sides],
    }
    print(json.dumps(result, indent=2)) if arguments.json else show(result)


if __name__ == "__main__":
    main()
