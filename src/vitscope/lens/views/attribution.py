"""Which pixels a score hangs on, by integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365), through captum. A trace in, tensors out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.trace import Trace


@dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """What each pixel adds to the score of a class, from an image of zeros to this one."""

    target: int
    pixels: Float[Tensor, "C H W"]
    patches: Float[Tensor, " N"] | None
    """The sum over the pixels of each patch; None where patches overlap."""
    gained: float
    """The score of the image minus that of zeros: what the attributions should add up to."""
    error: float
    """How far their sum is from it, in parts of it: captum's convergence delta."""
    caveat: ClassVar[Text] = Text(
        "Counted from an image of zeros (the mean colour, where images are normalised); from another start the shares are others. "
        "It says what this score hangs on, not what the picture shows.",
        "全画素がゼロの画像（正規化済みなら平均色）を起点としています。起点が変われば値も変わります。示しているのはこのスコアが何に依存するかで、画像に何が写っているかではありません。",
    )


def attribution(trace: Trace, *, target: int | None = None, steps: int = 32) -> Attribution:
    """Integrates the gradient of a score along the straight line from zeros to the image, by playing the trace's tape again.

    Args:
        target: the class; left out, the one with the highest score.
        steps: points on the line; more make `error` smaller.

    Raises:
        LensError: the score does not depend on the pixels in a way that can be differentiated.
    """
    with warnings.catch_warnings():  # in a notebook, tqdm, which captum brings, would have a widget
        warnings.simplefilter("ignore")
        from captum.attr import IntegratedGradients

    chosen = int(trace["logits"].argmax()) if target is None else target
    image, tape = trace["image"][None], trace.tape

    def scores(images: Tensor) -> Tensor:
        return torch.cat([tape.play({None: one[None]}, trace.anatomy.logits) for one in images.unbind()])

    try:
        with torch.enable_grad():
            found = IntegratedGradients(scores).attribute(
                image, torch.zeros_like(image), target=chosen, n_steps=steps, internal_batch_size=1
            )
    except RuntimeError as fault:
        raise LensError(
            Text(
                f"the scores cannot be differentiated down to the pixels ({str(fault).splitlines()[0]}); there is no attribution to show",
                f"スコアを画素で微分できないため、各画素の寄与は示せません: {str(fault).splitlines()[0]}",
            )
        ) from None
    with torch.no_grad():
        ends = scores(torch.cat([image, torch.zeros_like(image)]))[:, chosen].double()
    gained = float(ends[0] - ends[1])
    pixels = found[0].detach().float()
    by_patch = None if trace.layout.pixels is None else pixels.flatten()[trace.layout.pixels].sum(dim=1)
    error = abs(float(found.double().sum()) - gained) / max(abs(gained), torch.finfo(torch.float32).eps)
    return Attribution(chosen, pixels, by_patch, gained, error)
