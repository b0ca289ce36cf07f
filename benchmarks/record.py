"""Keeps a run's results in the repository: run folder in, `benchmarks/results/NAME/` out, without weights and without paths of a machine.

    python benchmarks/record.py runs/good --name 2026-11-23-good-vit-cifar10 --command "vitscope train good-vit-cifar10 --data ..." \
        --note "CIFAR-10, JPEG copy; one seed"
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from vitscope.runs import RunFolder

RESULTS = Path(__file__).parent / "results"
KEPT = ("metrics.csv", "curve.svg", "evaluation.json")
FACTS = (
    "vitscope",
    "python",
    "packages",
    "versions",
    "platform",
    "cpu",
    "cores",
    "threads",
    "memory",
    "accelerators",
    "date",
    "git",
)


def main() -> None:
    """Copies what is small and says how it came about."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--command", required=True, help="the command that anyone can run again")
    parser.add_argument("--commit", default="", help="the commit whose code it was, where the run folder does not know")
    parser.add_argument("--note", default="")
    words = parser.parse_args()
    run, target = RunFolder.open(words.run), RESULTS / words.name
    target.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (run.path / name).exists():
            shutil.copyfile(run.path / name, target / name)
    facts = run.read_environment()
    kept = {key: value for key, value in facts.items() if key.split("_")[0] in FACTS}
    data = {key: value for key, value in facts.get("data", {}).items() if key != "skipped"}
    about = {"command": words.command, "commit": words.commit, "note": words.note, "data": data, "environment": kept}
    (target / "about.json").write_text(json.dumps(about, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(f"kept {', '.join(sorted(p.name for p in target.iterdir()))} in {target}")


if __name__ == "__main__":
    main()
