"""`vitscope look`: its JSON, its page and pictures, where they go, and a sentence for everything that is no model, image or place."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_samples import Command
from PIL import Image

from vitscope._core import pictures
from vitscope.cli.look import _default_page

pytestmark = pytest.mark.e2e  # whole commands

STAGES = ["image", "patches", "patch_embedding", "with_class", "with_position", "encoder", "pooled", "logits"]
YAML = "name: vit-ti4-32\nimage_size: 16\npatch_size: 8\ndim: 24\nheads: 2\ndepth: 1\nmlp_dim: 32\nclasses: 4\n"
LOUD = """
print("imported")
import os
from torch import nn
from vitscope.model.create import create_model
class Loud(nn.Module):
    def __init__(self):
        super().__init__()
        print("built")
        os.system("echo built by a child")
        self.inner = create_model("vit-ti4-32", image_size=16, patch_size=8, dim=24, heads=2, depth=1, mlp_dim=32, classes=4)
        self.image_size = 16
    def forward(self, x):
        print("run")
        return self.inner(x)
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vitscope.report.looking.gather.QUICK", 1.0)  # eight steps where thirty-two would do
    (tmp_path / "m.yaml").write_text(YAML)


def test_json_is_one_document_and_no_page_is_written(vitscope: Command, tmp_path: Path) -> None:
    ended = vitscope("look", "m.yaml", "digits:17", "--json")
    assert ended.code == 0
    found = ended.json
    assert set(found) == {
        "model", "image", "label", "right", "notes", "top", "worst_error", "sound", "stages", "intermediates", "grid",
        "patch_of_token", "reads", "attention_errors", "attention_distance_pixels", "attention_entropy_bits", "token_norms",
        "token_likeness", "logit_lens", "rollout_of_what_is_read", "removal", "shuffling", "attribution", "absent", "page", "figures",
    }  # fmt: skip
    assert (found["model"], found["image"], found["label"], found["right"]) == ("m.yaml", "digits:17", "7", None)
    assert (found["sound"], found["page"], found["figures"], found["grid"]) == (True, None, [], [2, 2])
    assert [stage["key"] for stage in found["stages"]] == STAGES
    for stage in found["stages"]:
        assert set(stage) == {"number", "key", "name", "shape", "checks"}
        assert set(stage["name"]) == {"en", "ja"}
        for check in stage["checks"]:
            assert set(check) == {"text", "error", "tolerance", "holds"}
            assert check["holds"] is True
            assert check["tolerance"] is None or 0 <= check["error"] <= check["tolerance"]
    assert found["worst_error"] == max(found["attention_errors"]) < 1e-5
    assert found["attribution"]["error"] < 0.05
    assert [row["name"] for row in found["intermediates"]][:3] == ["image", "patches", "patch_embedding"]
    assert sum(top["probability"] for top in found["top"]) == pytest.approx(1, abs=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.yaml"]


def test_a_page_is_written_and_told_of_in_both_languages(
    vitscope: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = vitscope("look", "m.yaml", "digits:17")
    page = tmp_path / "look-m.yaml-digits-17.html"
    assert ended.code == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert f"wrote {page.name}" in ended.err
    assert "not trained" in ended.err
    assert "Transformer encoder" in ended.out
    assert ended.out.count("✓") == 8
    assert "label: 7\n" in ended.out
    monkeypatch.setattr("vitscope.report.looking.exhibits.inline_svg", lambda figure: "<svg></svg>")
    japanese = vitscope("look", "m.yaml", "digits:17", "--lang", "ja", "--out", "新しい フォルダ/ページ 1.html")
    assert japanese.code == 0
    assert '<html lang="ja">' in (tmp_path / "新しい フォルダ" / "ページ 1.html").read_text(encoding="utf-8")
    assert "新しい フォルダ/ページ 1.html を書き出しました" in japanese.err
    assert "予測" in japanese.out
    assert sorted(path.name for path in tmp_path.iterdir()) == [page.name, "m.yaml", "新しい フォルダ"]


def test_figures_are_written_as_png_and_svg(vitscope: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them are really drawn, which takes half a second each; the lens's own tests draw all."""

    def save_some(figure: Any, png: Path, svg: Path) -> None:
        if png.stem in ("patches", "logit-lens"):
            pictures.save(figure, png, svg)
        else:
            shutil.copy("a/b/patches.png", png)
            shutil.copy("a/b/patches.svg", svg)

    monkeypatch.setattr("vitscope.report.looking.files.save", save_some)
    ended = vitscope("look", "m.yaml", "digits:17", "--figures", "a/b", "--json")
    assert ended.code == 0
    written = {Path(name) for name in ended.json["figures"]}
    assert written == {path.relative_to(tmp_path) for path in (tmp_path / "a" / "b").iterdir()}
    stems = {path.stem for path in written}
    assert written == {Path("a/b") / f"{stem}{kind}" for stem in stems for kind in (".png", ".svg")}
    assert stems == {
        "patches", "patch-embedding-filters", "position-similarity", "position-spectrum", "shuffled-patches", "attention-block00",
        "attention-distance", "attention-entropy", "token-norms", "token-likeness", "logit-lens", "removal", "attribution",
    }  # fmt: skip
    for path in written:
        head = (tmp_path / path).read_bytes()[:8]
        assert head == b"\x89PNG\r\n\x1a\n" if path.suffix == ".png" else head.startswith(b"<?xml")


def test_a_run_is_looked_at_with_its_labels(vitscope: Command, run: Path) -> None:
    found = vitscope("look", str(run), "digits:17", "--json").json
    assert found["model"] == "run"
    assert found["right"] is (found["top"][0]["label"] == "7")
    assert found["notes"] == [note for note in found["notes"] if "not trained" not in note["en"]]
    state = json.loads((run / "state.json").read_text())
    (run / "state.json").write_text(json.dumps({**state, "status": "interrupted"}))
    unfinished = vitscope("look", str(run), "digits:17", "--json").json
    assert "not finished" in unfinished["notes"][0]["en"]


def test_a_fault_is_shown(vitscope: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(YAML.replace("vit-ti4-32", "bad-vit"))
    ended = vitscope("look", "bad.yaml", "digits:17", "--json")
    assert ended.code == 0  # looking is no verdict
    assert ended.json["sound"] is False
    held = {stage["key"]: all(check["holds"] for check in stage["checks"]) for stage in ended.json["stages"]}
    assert [key for key, holds in held.items() if not holds] == ["encoder", "logits"]


def test_what_a_model_prints_stays_off_standard_output(vitscope: Command, tmp_path: Path) -> None:
    (tmp_path / "their_loud.py").write_text(LOUD)
    ended = vitscope("look", "their_loud:Loud", "digits:17", "--json")
    assert ended.json["model"] == "their_loud:Loud"
    for words in ("imported\n", "built\n", "built by a child\n", "run\n"):
        assert words in ended.err
    again = vitscope("models", "--json")
    assert again.json  # standard output is where it was


@pytest.mark.parametrize("kind", ["RGBA", "P", "I;16", "CMYK", "F"])
def test_images_of_every_kind(vitscope: Command, tmp_path: Path, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    image = Image.fromarray(pixels[..., :3])
    if kind == "RGBA":
        image = Image.fromarray(pixels)
    elif kind == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif kind == "F":
        image = Image.fromarray(pixels[..., 0].astype(np.float32))
    else:
        image = image.convert(kind)
    name = {"CMYK": "i.jpg", "F": "i.tiff"}.get(kind, "写真 1.png")
    image.save(tmp_path / name)
    found = vitscope("look", "m.yaml", name, "--json").json
    assert found["sound"] is True
    assert found["label"] is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["god-vit", "digits:1"], "no built-in model 'god-vit' (did you mean 'good-vit'?)"),
        (["no.yaml", "digits:1"], "no.yaml does not exist"),
        (["no/run", "digits:1"], "no/run does not exist"),
        (["empty", "digits:1"], "empty is no run folder: it holds nothing"),
        (["their_none:f", "digits:1"], "there is no Python module 'their_none'"),
        (["m.yaml", "no.png"], "no.png does not exist; give the path of an image file"),
        (["m.yaml", "empty"], "empty is a folder, expected an image file"),
        (["m.yaml", "-"], "- does not exist"),
        (["m.yaml", "text.png"], "text.png is not an image that Pillow can read"),
        (["m.yaml", "half.png"], "half.png cannot be decoded"),
        (["m.yaml", "dot.png"], "dot.png is 1×1 pixels, expected at least 2×2"),
        (["m.yaml", "digits:99999"], "digits all has no image 99999"),
        (["m.yaml", "digits:1", "--out", "empty"], "--out empty is a folder, expected the name of a page such as empty/page.html"),
        (["m.yaml", "digits:1", "--out", "page.txt"], "--out page.txt would be an HTML page; give a name that ends in .html"),
        (["m.yaml", "digits:1", "--out", "text.png/x.html"], "cannot write text.png/x.html: text.png is a file"),
        (["m.yaml", "digits:1", "--out", f"{'x' * 300}.html"], "File name too long; choose another name"),
        (["m.yaml", "digits:1", "--figures", "text.png"], "--figures text.png is a file, expected a folder"),
        (["m.yaml", "digits:1", "--kwargs", '{"a": 1}'], "--kwargs is for package.module:callable; m.yaml knows its own"),
        (["m.yaml", "digits:1", "--kwargs", "a=1"], "--kwargs is no JSON"),
        (["m.yaml", "digits:1", "--image-size", "0"], "--image-size is for package.module:callable"),
        (["m.yaml"], "Missing argument 'IMAGE'."),
        ([], "Missing argument 'MODEL'."),
    ],
    ids=lambda given: " ".join(given)[:60],
)  # fmt: skip
def test_one_sentence_and_2(vitscope: Command, tmp_path: Path, words: list[str], sentence: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.zeros((1, 1, 3), dtype=np.uint8)).save(tmp_path / "dot.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "half.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:900])
    before = sorted(tmp_path.iterdir())
    assert sentence in vitscope("look", *words).sentence
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("model.safetensors", "model.safetensors does not exist; a run has it once its first epoch has ended"),
        ("config.json", "has no config.json, which this needs"),
    ],
)
def test_a_run_that_lacks_something(vitscope: Command, run: Path, file: str, sentence: str) -> None:
    (run / file).unlink()
    assert sentence in vitscope("look", str(run), "digits:17").sentence
    shutil.rmtree(run)


def test_a_disk_that_is_full_and_a_folder_that_is_closed(
    vitscope: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitscope.report.looking.page.page_of", lambda *_: "<!doctype html>")

    def full(self: Path, *args: Any, **kwargs: Any) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        sentence = vitscope("look", "m.yaml", "digits:17", "--out", "p.html").sentence
    assert sentence == "cannot write p.html: No space left on device; free some space or make its folder writable"
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o555)
        assert (
            "cannot write closed/p.html" in vitscope("look", "m.yaml", "digits:17", "--out", "closed/p.html").sentence
        )
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("model", "image", "page"),
    [
        ("good-vit", "sample:china", "look-good-vit-sample-china.html"),
        ("bad-vit:no-position", "cifar10:test:3", "look-bad-vit-no-position-cifar10-test-3.html"),
        ("a.b:c", "photos/my cat.jpg", "look-a.b-c-my-cat.jpg.html"),
        ("runs/../my run/", "写真.png", "look-my-run-写真.png.html"),
        ("good-vit", "/..", "look-good-vit-.html"),
        ("猫" * 80, "x" * 300, f"look-{'猫' * 40}-{'x' * 120}.html"),
    ],
)
def test_the_page_is_called_like_model_and_image(tmp_path: Path, model: str, image: str, page: str) -> None:
    (tmp_path / "my run").mkdir()
    (tmp_path / "runs").mkdir()
    assert _default_page(model, image) == Path(page)


def test_the_help_says_what_each_word_is_for(vitscope: Command) -> None:
    shown = " ".join(vitscope("look", "--help").out.replace("│", " ").split())
    assert "vitscope look [OPTIONS] MODEL IMAGE" in shown
    for words in (
        "A built-in name, a YAML file, a run folder, or package.module:callable.",
        "A file, sample:china, sample:flower, or SOURCE:split:index",
        "--out PAGE.html", "--figures DIR", "--data SOURCE", "--kwargs JSON", "--image-size S", "--channels C", "--thorough",
    ):  # fmt: skip
        assert words in shown
