"""Two processes are one training: with vitscope's loader and with anybody's, uninterrupted and resumed in the middle of an epoch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vitscope.runs import RunFolder, read_metrics

HERE = Path(__file__).parent
SOURCES = str(HERE.parents[1] / "src")

PROGRAM = """
import json, os, sys
from pathlib import Path
import torch
from torch.utils.data import DataLoader, TensorDataset
sys.path.insert(0, sys.argv[1])
from train_samples import *
from vitscope.train.events import StepEnded
torch.set_num_threads(1)
rank, folder, kind, stop = int(os.environ["RANK"]), RunFolder(Path(sys.argv[2])), sys.argv[3], int(sys.argv[4])
seen = []
def loss_fn(scores, labels):
    seen.append(labels.tolist())
    return torch.nn.functional.cross_entropy(scores, labels)
def interrupt(event):
    if isinstance(event, StepEnded) and event.step == stop:
        os.kill(os.getpid(), 15)
held = table()
if kind == "plain":
    data = TensorDataset(pixels(torch.from_numpy(held.images).permute(0, 3, 1, 2)), torch.from_numpy(held.labels))
    batches, val = DataLoader(data, batch_size=4, shuffle=True), DataLoader(data, batch_size=7)
    how = {}
else:
    batches, val = BatchLoader(held, batch_size=4, shuffle=True, drop_last=True), val_loader()
    how = {"augment": noisy, "prepare": pixels}
spec = spec_of(duration="2ep", checkpoint_every="3st", ema=0.9)
try:
    model = small_vit()
    if kind == "unused":  # a layer that no forward calls, as in a hand-written model with a slip
        model.never = torch.nn.Linear(16, 16)
    fit(model, batches, spec, val_batches=val, loss_fn=loss_fn, folder=folder, resume=True, listeners=[interrupt], **how)
finally:
    (folder.path / f"seen{rank}.json").write_text(json.dumps(seen))
"""


def two_processes(folder: Path, kind: str, stop: int = 0) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = [*launch, "--no-python", sys.executable, "-c", PROGRAM, str(HERE), str(folder), kind, str(stop)]
    environment = os.environ | {"PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=120)


def rows(folder: Path) -> list[tuple[float, ...]]:
    return [
        (r.epoch, r.step, r.train_loss, r.train_acc, r.val_loss, r.val_acc)
        for r in read_metrics(folder / "metrics.csv")
    ]


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["ours", "plain", "unused"])
def test_two_processes_divide_the_images_and_resume_to_the_same_numbers(tmp_path: Path, kind: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = two_processes(whole, kind)
    assert done.returncode == 0, done.stderr
    seen: list[Any] = [json.loads((whole / f"seen{rank}.json").read_text()) for rank in (0, 1)]
    assert len(seen[0]) == len(seen[1]) == 10  # two epochs of 40 images, 8 in a step
    assert seen[0] != seen[1]
    assert RunFolder(whole).state().to_dict() == {"status": "finished", "epochs": 2}
    assert two_processes(cut, kind, stop=7).returncode != 0
    assert RunFolder(cut).state().to_dict() == {"status": "interrupted", "epochs": 1}
    resumed = two_processes(cut, kind)
    assert resumed.returncode == 0, resumed.stderr
    assert rows(cut) == rows(whole)
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
