"""Which tokens are read, found on a tape whose numbers carry gradients: no warning of torch's comes of it."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from vitscope.doctor.admission import admitted
from vitscope.lens.reading import find_class_token, read_tokens


class Mean(nn.Module):
    """A token that is no patch, in a mean of all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.first = nn.Conv2d(1, 16, 4, 4), nn.Parameter(torch.randn(1, 1, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True, norm_first=True)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.first.expand(len(x), -1, -1), self.cut(x).flatten(2).transpose(1, 2)], 1)
        return self.head(self.norm(self.block(tokens)).mean(1))


def test_numbers_with_a_gradient_are_compared_without_a_warning() -> None:
    images = {"images": None, "labels": None, "batch_size": None}
    patient, _, _ = admitted(Mean().eval(), image_size=8, num_classes=None, channels=1, **images)
    tape, anatomy, layout = patient.tape, patient.anatomy, patient.layout
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reads = read_tokens(tape, anatomy)
            assert find_class_token(tape, anatomy, layout, reads) is None
    finally:
        torch.set_warn_always(False)
    assert reads == (0, 1, 2, 3, 4)
