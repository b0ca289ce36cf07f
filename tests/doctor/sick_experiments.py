"""Direct experiments on a sick model of the tests, one for each mode of the catalogue; they know nothing of the doctor."""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from sick_case import Case
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

Experiment = Callable[[nn.Module, Case], bool]


def images(case: Case, seed: int = 0, count: int | None = None) -> Tensor:
    """As many as the model takes, else four."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count or case.batch_size or 4, case.channels, case.image_size, case.image_size)
    return torch.randn(shape, generator=generator)


def logits(model: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(0)  # dropout that is never off takes the same ones each time
    return model(x.clone())


def differ(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() > 1e-5)


def labels(count: int) -> Tensor:
    return torch.arange(count) % 10


def learn(model: nn.Module, case: Case, steps: int = 20) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = images(case)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(logits(model, x), labels(len(x))).backward()
        optimizer.step()


def input_gradient(model: nn.Module, case: Case) -> Tensor:
    """Of random sums of the scores, (H, W)."""
    total = torch.zeros(case.image_size, case.image_size)
    for seed in range(2):
        x = images(case, seed).requires_grad_()
        y = logits(model, x)
        (gradient,) = torch.autograd.grad((y * images(case, 9).flatten(1)[:, :10]).sum(), x)
        total += gradient.abs().sum((0, 1))
    return total


# Who meets whom, and how many


def images_meet(model: nn.Module, case: Case) -> bool:
    x, y = images(case), images(case)
    y[0] = images(case, seed=1)[0]
    return differ(logits(model, x)[1:], logits(model, y)[1:])


def place_matters(model: nn.Module, case: Case) -> bool:
    x = images(case)
    return differ(logits(model, x).flip(0), logits(model, x.flip(0)))


def knows_one_batch_size(model: nn.Module, case: Case) -> bool:
    for count in (1, 2, 3, 5):
        try:
            if len(logits(model, images(case, count=count))) != count:
                return True
        except (RuntimeError, IndexError):
            return True
    return False


# What is read


def is_blind(model: nn.Module, case: Case) -> bool:
    if input_gradient(model, case).max() > 0:
        return False
    assert not differ(logits(model, images(case)), logits(model, 3 * images(case, 1)))
    learn(model, case)
    return bool(input_gradient(model, case).max() == 0)


def leaves_pixels_out(model: nn.Module, case: Case) -> bool:
    return bool((input_gradient(model, case) == 0).any())


def tokens(model: nn.Module, case: Case) -> Tensor | None:
    """What the first norm of tokens is given, (B, N, D)."""
    seen: list[Tensor] = []
    norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm | nn.RMSNorm)]
    hooks = [norm.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach())) for norm in norms]
    x = images(case)
    logits(model, x)
    for hook in hooks:
        hook.remove()
    first = next((t for t in seen if t.dim() == 3), None)
    return first if first is None or first.shape[0] == len(x) else first.transpose(0, 1)


def has_few_tokens(model: nn.Module, case: Case) -> bool:
    x = tokens(model, case)
    return x is not None and x.shape[1] < 36


def is_drowned(model: nn.Module, case: Case) -> bool:
    """By what all images have in common."""
    x = tokens(model, case)
    return x is not None and bool(x.mean(0).std() > 3 * x.std(0).mean())


class Widths(TorchDispatchMode):
    """The inner widths of products of tokens with tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if "scaled_dot_product" in str(func):
            self.seen.append(args[0].shape[-1])
        elif "bmm" in str(func) and out.shape[-1] == out.shape[-2] >= 64:
            self.seen.append(args[-2].shape[-1])
        return out


def has_thin_heads(model: nn.Module, case: Case) -> bool:
    with Widths() as widths:
        logits(model, images(case))
    return any(width < 16 for width in widths.seen)


# What comes out


def gives_probabilities(model: nn.Module, case: Case) -> bool:
    y = logits(model, 10 * images(case))
    return bool((y > 0).all() and (y < 1).all())


def gives_bounded(model: nn.Module, case: Case) -> bool:
    """Bounded, rectified or dropped out, with a last layer a thousand times as strong."""
    last = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 10]
    if not last or gives_probabilities(model, case):
        return False
    last[-1].weight.data.mul_(1000)
    y = logits(model, images(case))
    model.train()
    dropped = logits(model, images(case))
    model.eval()
    last[-1].weight.data.div_(1000)
    return bool(y.abs().max() <= 1 or y.min() >= 0 or (dropped == 0).any())


def starts_far_off(model: nn.Module, case: Case) -> bool:
    x = images(case)
    return float(F.cross_entropy(logits(model, x), labels(len(x))).detach()) > math.log(case.classes) + 1


def says_something_else(model: nn.Module, case: Case) -> bool:
    return differ(model(images(case)), model(images(case)))


# What is learnt


def backward(model: nn.Module, case: Case) -> Tensor:
    model.zero_grad()
    x = images(case)
    loss = F.cross_entropy(logits(model, x), labels(len(x)))
    loss.backward(retain_graph=True)
    return loss


def unused(model: nn.Module, case: Case) -> set[str]:
    backward(model, case)
    return {name for name, p in model.named_parameters() if p.grad is None}


def has_unused(model: nn.Module, case: Case) -> bool:
    """Whole branches for an error, single layers for a warning."""
    names = unused(model, case)
    branches = [
        module
        for name, module in model.named_modules()
        if any(True for _ in module.children()) and {f"{name}.{p}" for p, _ in module.named_parameters()} <= names
    ]
    return bool(names) and bool(branches) == (case.severity == "error")


def has_unregistered(model: nn.Module, case: Case) -> bool:
    known, seen, stack = {id(p) for p in model.parameters()}, set(), [backward(model, case).grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable") and id(node.variable) not in known:
            return True
        stack += [parent for parent, _ in node.next_functions]
    return False


def calls_again(model: nn.Module, case: Case) -> bool:
    counts: Counter[nn.Module] = Counter()
    owners = [m for m in model.modules() if any(True for _ in m.parameters(recurse=False))]
    hooks = [m.register_forward_hook(lambda module, *_: counts.update([module])) for m in owners]
    logits(model, images(case))
    for hook in hooks:
        hook.remove()
    return max(counts.values()) > 1


def begins_as_copies(model: nn.Module, case: Case) -> bool:
    drawn = [p for p in model.parameters() if p.dim() > 1 and p.std() > 0]
    return any(a.shape == b.shape and torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


def stays_at_zero(model: nn.Module, case: Case) -> bool:
    def zeros() -> set[str]:
        backward(model, case)
        return {n for n, p in model.named_parameters() if p.grad is not None and not (p.any() or p.grad.any())}

    before = zeros()
    if before:
        learn(model, case)
    return bool(before and before & zeros())


# What is left behind, and where it runs


class Made(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[weakref.ref[Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and not func._schema.is_mutable:
            self.tensors.append(weakref.ref(out))
        return out


def leaves_traces(model: nn.Module, case: Case) -> bool:
    x, buffers = images(case), {name: b.clone() for name, b in model.named_buffers()}
    with torch.no_grad(), Made() as made:
        model(x)
    kept = any(each() is not None for each in made.tensors)
    changed = any(not torch.equal(b, buffers[name]) for name, b in model.named_buffers())
    return kept or changed or not torch.equal(x, images(case))


def is_tied_down(model: nn.Module, case: Case) -> bool:
    """To float32, or to the CPU."""
    try:
        case.build().double().eval()(images(case).double())
        case.build().to("meta").eval()(images(case).to("meta"))
    except (RuntimeError, NotImplementedError):
        return True
    return False


EXPERIMENTS: dict[str, Experiment] = {
    "M1": images_meet,
    "M2": is_blind,
    "M3": is_blind,
    "M12": gives_probabilities,
    "M13": gives_bounded,
    "M14": has_unused,
    "M15": has_unregistered,
    "M16": calls_again,
    "M17": begins_as_copies,
    "M22": place_matters,
    "M23": knows_one_batch_size,
    "M24": leaves_pixels_out,
    "M25": has_few_tokens,
    "M26": has_thin_heads,
    "M27": says_something_else,
    "M28": leaves_traces,
    "M29": is_tied_down,
    "I1": starts_far_off,
    "I2": stays_at_zero,
    "I3": is_drowned,
}
