"""A read-out along the batch is named, with the fix that belongs to the order of the axes; what takes one image on purpose is not accused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from healthy_hosts import Host, MeanHost
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.doctor.forward import meetings

pytestmark = pytest.mark.e2e  # whole examinations


class FirstOfTheBatch(Host):
    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens[0][: len(tokens)])


class LastImage(MeanHost):
    """The head is given everything, and what it gives for one image is kept."""

    def forward(self, img: Tensor) -> Tensor:
        scores = [super().forward(img)]  # for its parameters' sake
        x = self.to_patch_embedding(
            img.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        )
        return self.classifier(x).narrow(0, 0, 1).squeeze(0)[: len(img)] + 0 * scores[0]


class SequenceFirst(nn.Module):
    """torch's encoder as it is by default, a register in front of 64 patches, and a read-out that is given it."""

    def __init__(self, read: Callable[[Tensor], Tensor], registers: int = 1) -> None:
        super().__init__()
        self.stem, self.read = nn.Conv2d(3, 32, 4, 4), read
        self.register = nn.Parameter(0.02 * torch.randn(registers, 1, 32))
        self.place = nn.Parameter(0.02 * torch.randn(64 + registers, 1, 32))
        layer = nn.TransformerEncoderLayer(32, 2, 64, 0.0, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, nn.LayerNorm(32), enable_nested_tensor=False)
        self.fc = nn.Linear(32, 7)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.register.expand(-1, len(x), -1), self.stem(x).flatten(2).permute(2, 0, 1)])
        return self.fc(self.read(self.layers(tokens + self.place)))


class FirstOfThree(SequenceFirst):
    def __init__(self) -> None:
        super().__init__(lambda x: x[: x.shape[1], 0])


@pytest.mark.parametrize(
    ("build", "code"),
    [(FirstOfTheBatch, "x[:, 0]"), (LastImage, "x.mean(1)"), (FirstOfThree, "x[0]")],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_one_image_read_for_all_is_named(build: Callable[[], nn.Module], code: str) -> None:
    torch.manual_seed(0)
    first = diagnose(build(), image_size=32, checks=["forward", "batch-independence"]).findings[0]
    assert (first.id, first.severity) == ("one-image-read-for-all", "error")
    assert first.fault.code == f"return self.head({code})"
    assert code in first.fault.advice.ja
    assert first.evidence["image_read"] == 0


def test_the_last_image_is_called_so() -> None:
    class Last(Host):
        def read(self, tokens: Tensor) -> Tensor:
            return self.head(tokens[-1])[: len(tokens)]

    torch.manual_seed(0)
    (found,) = diagnose(Last(), image_size=32, checks=["batch-independence"]).findings
    assert "the tokens of the last image" in found.summary.en
    assert "最後の画像の全トークン" in found.summary.ja


@pytest.mark.parametrize(
    ("build", "code"),
    [
        (lambda: SequenceFirst(lambda x: x[:, 0]), "x[0]"),
        (lambda: SequenceFirst(lambda x: x.mean(dim=1)), "x.mean(0)"),
    ],
    ids=["class token", "mean"],
)
def test_rows_of_tokens_in_the_place_of_scores_are_named(build: Callable[[], nn.Module], code: str) -> None:
    (found,) = diagnose(build(), image_size=32).findings
    assert found.id == "wrong-output-shape"
    assert "reads along the batch: the tokens are (tokens, batch, width)" in found.summary.en
    assert found.fault.code == f"return self.head({code})"


def test_rows_of_the_first_image_of_tokens_that_stand_behind_the_batch() -> None:
    class Rows(Host):
        def read(self, tokens: Tensor) -> Tensor:
            return self.head(tokens[0])

    (found,) = diagnose(Rows(), image_size=32).findings
    assert found.id == "wrong-output-shape"
    assert found.fault.code == "return self.head(x[:, 0])"
    assert "x[0]" in found.summary.ja


class Patches(nn.Module):
    """64 patches without a class token, an attention by hand, and a read-out that is given all of them."""

    def __init__(self, read: Callable[[Tensor], Tensor], side: int = 4) -> None:
        super().__init__()
        self.patch, self.read = nn.Linear(3 * side**2, 24), read
        self.place = nn.Parameter(0.02 * torch.randn((32 // side) ** 2, 24))
        self.norm, self.qkv, self.fc, self.side = nn.LayerNorm(24), nn.Linear(24, 72), nn.Linear(24, 7), side

    def forward(self, x: Tensor) -> Tensor:
        squares = x.unfold(2, self.side, self.side).unfold(3, self.side, self.side)
        x = self.patch(squares.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)) + self.place
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        return self.fc(self.read(x + (q @ k.mT * 24**-0.5).softmax(dim=-1) @ v))


@pytest.mark.parametrize(
    ("build", "rows", "said", "code"),
    [
        (lambda: Patches(lambda x: x[0]), 64, "x[0]", "x.mean(1)"),
        (lambda: Patches(lambda x: x.mean(0)), 64, "x.mean(0)", "x.mean(1)"),
        (lambda: Patches(lambda x: x.mean(0), side=8), 16, "x.mean(0)", "x.mean(1)"),
        (lambda: SequenceFirst(lambda x: x[:, 0], registers=0), 64, "x[:, 0]", "x.mean(0)"),
        (lambda: SequenceFirst(lambda x: x.mean(1), registers=0), 64, "x.mean(1)", "x.mean(0)"),
    ],
    ids=["first image", "mean", "16 tokens", "sequence first", "mean, sequence first"],
)
def test_a_row_for_each_token_is_told_as_that_where_a_batch_of_as_many_images_is_tried(
    build: Callable[[], nn.Module], rows: int, said: str, code: str
) -> None:
    (found,) = diagnose(build(), image_size=32).findings
    assert found.id == "wrong-output-shape"
    assert f"For a batch of 3 images the model gives back {rows}×7" in found.summary.en
    assert f"{said} in the model reads along the batch" in found.summary.en
    assert found.fault.code == f"return self.head({code})"


def test_a_batch_size_that_is_written_into_a_view_is_told_as_that() -> None:
    (found,) = diagnose(Patches(lambda x: x.view(64, 64, 24).mean(1)), image_size=32, checks=["forward"]).findings
    assert found.id == "works-only-at-some-batch-sizes"
    assert "試したほかのサイズではすべて失敗します（RuntimeError: shape '[64, 64, 24]' is" in found.summary.ja


def test_a_batch_of_many_images_is_not_searched_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    search = meetings._where_they_differ
    monkeypatch.setattr(meetings, "_where_they_differ", lambda *given: compared.append(1) or search(*given))
    torch.manual_seed(0)
    model = Patches(lambda x: x.view(64, 64, 24)[0])
    (found,) = diagnose(model, image_size=32, checks=["batch-independence"]).findings
    assert (found.id, found.fault.code) == ("one-image-read-for-all", "return self.head(x.mean(1))")
    assert len(compared) == 2


def test_scores_of_each_token_are_no_read_out_along_the_batch() -> None:
    (found,) = diagnose(SequenceFirst(lambda x: x), image_size=32).findings
    assert "along the batch" not in found.summary.en


class OneByOne(Host):
    """Takes its images one after the other."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.read(self.encode(self.embed(image[None]))) for image in x])


@pytest.mark.parametrize("build", [OneByOne, lambda: SequenceFirst(lambda x: x[0])], ids=["one by one", "right way"])
def test_honest_models_that_select_are_left_alone(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    assert diagnose(build(), image_size=32, checks=["forward", "batch-independence"]).findings == ()
