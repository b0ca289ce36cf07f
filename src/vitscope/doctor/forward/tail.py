"""What a model does behind its last product, where a classifier's scores should be finished. In goes a tape and the scores on it, out comes a
`Tail` that can be given other numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope.lens.flow import ancestors
from vitscope.lens.operations import CONVOLUTIONS, NORMS, PRODUCTS
from vitscope.lens.tape import Call, Tape


@dataclass(frozen=True, eq=False)
class Tail:
    """The last products, and the operations from there to the scores, in order."""

    tape: Tape
    products: tuple[Call, ...]
    behind: tuple[Call, ...]
    logits: Call

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(call.name for call in self.behind)

    @property
    def is_learned(self) -> bool:
        """Whether something there is scaled by what is learned, which can undo any bound."""
        return any(call.name in NORMS for call in self.behind) or any(
            call.name in ("mul", "mul_", "div", "div_", "pow")
            and any(not self.tape.is_of_image(source) and not _is_number(source.tensor) for source in call.sources)
            for call in self.behind
        )

    @torch.no_grad()
    def given(self, scale: float, sign: int, seed: int) -> Tensor:
        """The scores where the last products are noise of one sign (0: of both), `scale` large.

        Raises:
            LensError: the tape cannot be played again.
        """
        generator = torch.Generator().manual_seed(seed)
        replaced: dict[Call | None, Tensor] = {}
        for product in self.products:
            out = product.outputs[0]
            noise = torch.randn(out.shape, generator=generator, dtype=torch.float64) * scale
            replaced[product] = (noise.abs() * sign if sign else noise).to(out.dtype)
        return self.tape.play(replaced, self.logits)


def tail_of(tape: Tape, scores: Tensor) -> Tail:
    """What stands between the last products and the scores.

    Raises:
        LensError: the scores do not come from a product.
    """
    logits = tape.maker(scores)
    if logits is None:
        raise LensError("the model gives back something that it did not compute; there is nothing to follow")
    products: dict[int, Call] = {}
    behind: dict[int, Call] = {}
    waiting = [logits]
    while waiting:
        call = waiting.pop()
        if call.name in PRODUCTS | CONVOLUTIONS and any(tape.is_of_image(source) for source in call.sources):
            products[call.number] = call
        elif call.number not in behind:
            behind[call.number] = call
            waiting += [s.call for s in call.sources if s.call is not None and tape.is_of_image(s)]
    if not products:
        raise LensError("the scores come from no product, so no head was found")
    return Tail(
        tape,
        tuple(products[number] for number in sorted(products)),
        tuple(behind[number] for number in sorted(behind)),
        logits,
    )


def draws(tail: Tail, names: frozenset[str]) -> list[Call]:
    """The operations that draw the numbers which something behind the last products takes."""
    first = min(product.number for product in tail.products)
    found: dict[int, Call] = {}
    for call in tail.behind:
        if call.name in names:
            found[call.number] = call
        for source in call.sources:
            if source.call is not None and not tail.tape.is_of_image(source):
                found |= {
                    n: tail.tape.calls[n]
                    for n in ancestors(source.call)
                    if n > first and tail.tape.calls[n].name in names
                }
    return list(found.values())


def _is_number(tensor: Tensor) -> bool:
    """Whether it is a number from the source code: one that no parameter holds."""
    return tensor.ndim == 0 and not tensor.requires_grad and not isinstance(tensor, torch.nn.Parameter)
