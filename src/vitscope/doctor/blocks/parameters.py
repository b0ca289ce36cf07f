"""Whether all of a model's parameters work, learn, and are its own. In goes a patient, out come findings; the parts of the check stand in `unused`,
`zeros`, `dropping`, `fused`, `frozen`, `sharing` and `restoring`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vitscope._core.text import Text
from vitscope.doctor.blocks.census import Census, census_of
from vitscope.doctor.blocks.dropping import always_dropped
from vitscope.doctor.blocks.frozen import frozen
from vitscope.doctor.blocks.fused import half_asleep
from vitscope.doctor.blocks.restoring import restored
from vitscope.doctor.blocks.sharing import copies, shared
from vitscope.doctor.blocks.unused import cut, unused
from vitscope.doctor.blocks.zeros import blocked
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient

UNREGISTERED = Fault(
    "unregistered-parameters",
    "M15",
    "parameters",
    "error",
    Text(
        "What is not registered is not in parameters() nor in the state dict: no optimizer moves it, no checkpoint holds it, .to(device) leaves it "
        "behind.",
        "登録されていない値はparameters()にもstate_dictにも現れません。オプティマイザに更新されず、チェックポイントに保存されず、.to(device)でも"
        "移動しません。",
    ),
    Text(
        "hold layers in nn.ModuleList or nn.ModuleDict, learned tensors as nn.Parameter made last (what .to() or a product gives back is none)",
        "層はnn.ModuleListかnn.ModuleDictに入れ、学習するテンソルは最後にnn.Parameterで包んでください（.to()や積の結果はnn.Parameterではなくなります）",
    ),
    "self.blocks = nn.ModuleList(Block(dim) for _ in range(depth))\nself.pos_embed = nn.Parameter(torch.randn(1, n, dim) * 0.02)",
    explains=("state-dict-does-not-restore", "overfit", "hard-wired-device"),
)


def parameters(patient: Patient) -> Iterator[Finding]:
    """Whether every parameter is used, learns, is registered, and stands once.

    Does: holds the tensors that operations of a forward were given against `parameters()`, and both against the autograd graph; counts calls; looks
    again, after some steps of Adam, at gradients that are exactly zero; loads the state dict into a fresh instance where one can be made.
    Finds: layers that are never called or cut off (M14), what is not registered (M15), blocks that are one block (M16) or copies of one (M17),
    branches that two zeros keep asleep, parts of a fused projection that no gradient reaches (I2), branches that training mode drops each time
    (L11); as a note, most of the model frozen as drawn.
    Must not accuse: what is frozen and was trained; key biases; heads and branches that start at zero; what only training uses; norms and tables
    that are shared; blocks left out on purpose (a warning).
    Source: torch.nn.Module.parameters; Bachlechner et al. 2021 (ReZero), on one zero for each branch.
    """
    census = census_of(patient)
    yield from _unregistered(census)
    yield from cut(patient, census)
    yield from unused(patient, census)
    yield from shared(patient)
    yield from copies(patient)
    stuck = list(blocked(patient, census))
    yield from stuck or half_asleep(patient, census)
    yield from always_dropped(patient)
    yield from frozen(patient, census)
    yield from restored(patient)


def _unregistered(census: Census) -> Iterator[Finding]:
    """What is used and asks for a gradient, and is no parameter of the model."""
    if not census.unregistered:
        return
    numbers = sum(census.unregistered.values())
    holders = list(dict.fromkeys(_holder(place) for place in census.unregistered))
    yield UNREGISTERED.found(
        Text(
            f"The forward uses {numbers:,} numbers that parameters() does not know: {listed(holders)}.",
            f"順伝播で使われる数値のうち{numbers:,}個がparameters()に含まれていません: {listed(holders)}。",
        ),
        {"places": list(census.unregistered), "numbers": numbers},
    )


def _holder(place: str) -> str:
    """Where a layer in a list stands, without its own parts: `blocks[2]`."""
    inside = re.match(r".*?\]", place)
    return inside.group() if inside else place
