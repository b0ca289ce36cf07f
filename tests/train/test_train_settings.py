"""What a recipe's `train:` part means in numbers: durations, schedules, parameter groups, optimizers; and what it refuses."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from train_samples import small_vit

from vitscope._core.errors import ConfigError
from vitscope.model.create import build
from vitscope.model.spec import ViTSpec
from vitscope.model.specimens.spec import BadViTSpec, GoodViTSpec
from vitscope.train.duration import Duration
from vitscope.train.groups import ParameterGroup, parameter_groups
from vitscope.train.muon import Muon, MuonWithAdamW
from vitscope.train.optimizer import build_optimizer
from vitscope.train.schedule import lr_at
from vitscope.train.spec import TrainSpec

SMALL: dict[str, Any] = {
    "image_size": 8,
    "patch_size": 4,
    "channels": 1,
    "classes": 4,
    "dim": 16,
    "depth": 2,
    "heads": 2,
}


def refusal(**settings: Any) -> str:
    with pytest.raises(ConfigError) as error:
        TrainSpec.parse(settings, "train")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("10ep", 1000),
        ("1ep", 100),
        ("0.5ep", 50),
        ("0.001ep", 1),
        ("500st", 500),
        ("5%", 100),
        ("0.01%", 1),
        (" 3 st ", 3),
        ("0st", 0),
    ],
)
def test_a_duration_in_steps(text: str, steps: int) -> None:
    duration = TrainSpec.parse({"warmup": text}).warmup
    assert duration.steps(per_epoch=100, total=2000) == steps


def test_a_tenth_of_an_epoch_is_not_rounded_up_by_a_hair() -> None:
    assert [Duration(n / 10, "ep").steps(per_epoch=390) for n in range(11)] == [39 * n for n in range(11)]


def test_a_percentage_needs_a_whole() -> None:
    with pytest.raises(ValueError, match="a percentage needs something to be a part of; use ep or st"):
        Duration(5.0, "%").steps(per_epoch=10)


@pytest.mark.parametrize("text", ["10ep", "1.5ep", "500st"])
def test_durations_survive_yaml(text: str) -> None:
    spec = TrainSpec.parse({"duration": text})
    assert spec.to_dict()["duration"] == text
    assert TrainSpec.parse(spec.to_dict()) == spec


@pytest.mark.parametrize("value", ["10", 10, "ep", "10 epochs", "-1ep", "1e3st", None, "ten ep", ""])
def test_what_is_no_duration_is_told_how_to_be_one(value: Any) -> None:
    assert refusal(duration=value) == (
        f"train.duration: {value!r} is not a duration; write epochs as '10ep', steps as '500st', a part of the training as '5%'"
    )


@pytest.mark.parametrize("value", ["5%", "0ep", "0st", "2.5st"])
def test_what_cannot_be_the_length_of_a_training(value: str) -> None:
    assert refusal(duration=value) == (
        f"train.duration: '{value}' cannot be the length of a training; write epochs as '10ep' or whole steps as '500st'"
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lr": -1.0}, "train.lr is -1.0, expected a number greater than 0"),
        ({"lr": True}, "train.lr is true, expected a number"),
        ({"batch_size": True}, "train.batch_size is true, expected a number"),
        ({"betas": [True, 0.9]}, "train.betas is [True, 0.9], expected numbers"),
        ({"lr": 0}, "train.lr is 0, expected a number greater than 0"),
        ({"lr": float("nan")}, "train.lr is nan, "),
        ({"lr": "fast"}, "train.lr is 'fast', expected a number"),
        ({"learning_rate": 1.0}, "unknown key 'train.learning_rate'"),
        ({"warm_up": "1ep"}, "unknown key 'train.warm_up' (did you mean 'warmup'?)"),
        (
            {"optimizer": "adamW"},
            "train.optimizer is 'adamW', expected one of 'adamw', 'adam', 'sgd' or 'muon' (did you mean 'adamw'?)",
        ),
        ({"schedule": "cosin"}, "(did you mean 'cosine'?)"),
        ({"batch_size": 0}, "train.batch_size is 0, expected a number greater than 0"),
        ({"batch_size": 10, "accumulate": 4}, "batch_size 10 does not divide into 4 accumulated parts"),
        ({"checkpoint_every": "0st"}, "checkpoint_every is '0st', expected more than nothing"),
        ({"step_every": "0%"}, "step_every is '0%', expected more than nothing"),
        ({"device": "cpu", "precision": "fp16"}, "precision fp16 does not work on a CPU; use bf16 or fp32"),
        ({"ema": 1.0}, "train.ema is 1.0, expected a number less than 1"),
        ({"seed": -1}, "train.seed is -1, expected a number greater than or equal to 0"),
        ({"betas": [0.9]}, "train.betas is [0.9], expected a longer list"),
        ({"trackers": ["mlflow"]}, "train.trackers.0 is 'mlflow', expected one of 'tensorboard' or 'wandb'"),
        ({"label_smoothing": 1.0}, "train.label_smoothing is 1.0"),
        ({"gradient_clip": 0.0}, "train.gradient_clip is 0.0, expected a number greater than 0"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_in_one_sentence(settings: dict[str, Any], words: str) -> None:
    assert words in refusal(**settings)


def rates(total: int = 10, per_epoch: int = 5, **settings: Any) -> list[float]:
    spec = TrainSpec.parse({"lr": 1.0, **settings})
    return [lr_at(step, spec, total=total, per_epoch=per_epoch) for step in range(total)]


def test_schedules_in_numbers() -> None:
    assert rates(schedule="constant") == [1.0] * 10
    assert rates(schedule="linear") == pytest.approx([1 - n / 10 for n in range(10)])
    assert rates(schedule="linear", final_lr=0.5)[5] == pytest.approx(0.75)
    cosine = rates(schedule="cosine")
    assert (cosine[0], cosine[5]) == (1.0, pytest.approx(0.5))
    assert cosine[2] == pytest.approx(0.9045085, abs=1e-7)
    assert cosine == sorted(cosine, reverse=True)
    assert rates(schedule="cosine", final_lr=0.1)[5] == pytest.approx(0.55)
    assert rates(schedule="step", step_every="3st", step_factor=0.5) == [1.0] * 3 + [0.5] * 3 + [0.25] * 3 + [0.125]
    assert rates(schedule="step", step_every="50%", step_factor=0.1) == pytest.approx([1.0] * 5 + [0.1] * 5)


def test_the_warm_up_rises_to_the_rate_and_the_rest_is_shared_out() -> None:
    assert rates(schedule="constant", warmup="4st") == pytest.approx([0.2, 0.4, 0.6, 0.8, *[1.0] * 6])
    linear = rates(schedule="linear", warmup="50%")
    assert linear == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0, 0.8, 0.6, 0.4, 0.2])
    assert (
        rates(schedule="step", step_every="3st", step_factor=0.5, warmup="2st")[2:]
        == [1.0] * 3 + [0.5] * 3 + [0.25] * 2
    )
    assert rates(schedule="cosine", warmup="1ep") == rates(schedule="cosine", warmup="5st")


def test_a_warm_up_longer_than_the_training_is_cut() -> None:
    assert rates(schedule="cosine", warmup="99ep") == pytest.approx([(n + 1) / 11 for n in range(10)])


def test_by_the_epoch_the_rate_stands_still_within_one() -> None:
    assert rates(schedule="linear", schedule_unit="epoch") == pytest.approx([1.0] * 5 + [0.5] * 5)
    whole = [
        lr_at(s, TrainSpec.parse({"lr": 1.0, "schedule_unit": "epoch"}), total=1000, per_epoch=5) for s in range(1000)
    ]
    torch_model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(torch_model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=200)
    expected = []
    for _ in range(200):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert whole[::5] == pytest.approx(expected, abs=1e-9)


MODELS: dict[str, Any] = {
    "vit": ViTSpec.parse(SMALL),
    "vit with everything": ViTSpec.parse(
        {**SMALL, "registers": 2, "layer_scale": 0.1, "qk_norm": True, "patch_embedding": "conv", "norm": "post"}
    ),
    "conv-tokenizer": ViTSpec.parse({**SMALL, "patch_size": 2, "patch_embedding": "conv-tokenizer", "pooling": "mean"}),
    "good-vit": GoodViTSpec.parse({**SMALL, "mlp_dim": 32}),
    "bad-vit": BadViTSpec.parse({**SMALL, "mlp_dim": 32}),
    "bad-vit:post-norm": BadViTSpec.parse({**SMALL, "mlp_dim": 32, "fault": "post-norm"}),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("muon", [False, True])
def test_every_parameter_is_in_the_right_group_once(name: str, muon: bool) -> None:
    model = build(MODELS[name])
    groups = parameter_groups(model, muon=muon)
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert sorted(n for g in groups for n in g.names) == sorted(trainable)
    assert sum(g.numbers for g in groups) == sum(p.numel() for p in trainable.values())
    for group in groups:
        for n, p in zip(group.names, group.parameters, strict=True):
            assert trainable[n] is p
            assert group.decays == is_matrix(model, n, p), n
            assert group.muon == (group.role == "hidden matrices")


def is_matrix(model: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """By the owner's type, not by the name: weights of linear, convolution and attention layers."""
    owner = model.get_submodule(name.rpartition(".")[0]) if "." in name else model
    kinds = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)
    return isinstance(owner, kinds) and name.endswith("weight") and parameter.ndim >= 2


def roles(groups: tuple[ParameterGroup, ...]) -> dict[str, tuple[str, ...]]:
    return {group.role: group.names for group in groups}


def test_the_groups_of_a_plain_vit_by_name() -> None:
    held = roles(parameter_groups(build(ViTSpec.parse({**SMALL, "depth": 1}))))
    assert set(held) == {"matrices", "rest"}
    assert [n for n in held["rest"] if not n.endswith(("bias", "norm.weight", "norm1.weight", "norm2.weight"))] != []
    assert all(n.endswith("weight") for n in held["matrices"])
    assert len(held["matrices"]) == 6  # patches, qkv, out, two of the MLP, head


def test_muon_gets_the_hidden_matrices_only() -> None:
    for name in ("vit", "good-vit", "bad-vit"):
        held = roles(parameter_groups(build(MODELS[name]), muon=True))
        assert len(held["matrices"]) == 2, held["matrices"]  # patch embedding and head
        assert len(held["hidden matrices"]) == 2 * 4
        model = build(MODELS[name])
        assert all(dict(model.named_parameters())[n].ndim == 2 for n in held["hidden matrices"])


def test_other_peoples_tokens_and_norms_are_known() -> None:
    class Foreign(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
            self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
            self.register_tokens = nn.Parameter(torch.zeros(1, 2, 4))
            self.proj = nn.Conv2d(3, 4, 2)
            self.norm = nn.GroupNorm(2, 4)
            self.head = nn.Linear(4, 2)
            self.gamma = nn.Parameter(torch.ones(4))
            self.layer_scale = nn.Parameter(torch.ones(1, 1, 4))
            self.temperature = nn.Parameter(torch.ones(3, 1, 1))
            self.position_embeddings = nn.Embedding(5, 4)
            self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 3))
            self.mlp_tokens = nn.Linear(5, 5)
            self.decomposition = nn.Linear(4, 4)
            self.reg = nn.Linear(4, 1)

    held = roles(parameter_groups(Foreign()))
    layers = ("proj", "head", "mlp_tokens", "decomposition", "reg")
    assert held["matrices"] == tuple(f"{layer}.weight" for layer in layers)


def test_a_group_of_nothing_is_left_out_and_frozen_parameters_too() -> None:
    model = small_vit()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert parameter_groups(model) == ()


def test_tied_parameters_are_held_once() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    groups = parameter_groups(nn.Sequential(first, second))
    assert sum(g.numbers for g in groups) == 9 + 6


def optimizer_of(name: str, **settings: Any) -> torch.optim.Optimizer:
    spec = TrainSpec.parse({"optimizer": name, "lr": 0.5, "weight_decay": 0.25, **settings})
    return build_optimizer(parameter_groups(small_vit(), muon=name == "muon"), spec)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD), ("muon", MuonWithAdamW)],
)
def test_each_optimizer_is_torchs_own(name: str, kind: type) -> None:
    optimizer = optimizer_of(name, betas=(0.8, 0.95), momentum=0.7)
    assert type(optimizer) is kind
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert len(held) == len(list(small_vit().parameters()))
    assert {group["role"]: group["weight_decay"] for group in optimizer.param_groups}["rest"] == 0.0
    assert all(group["weight_decay"] == 0.25 for group in optimizer.param_groups if group["role"] != "rest")
    assert all(group["lr"] == 0.5 for group in optimizer.param_groups)
    if name in ("adam", "adamw"):
        assert optimizer.param_groups[0]["betas"] == (0.8, 0.95)
    if name == "sgd":
        assert (optimizer.param_groups[0]["momentum"], optimizer.param_groups[0]["nesterov"]) == (0.7, True)
        assert not optimizer_of("sgd", momentum=0.0).param_groups[0]["nesterov"]


def test_muon_shares_the_work_with_adamw() -> None:
    optimizer = optimizer_of("muon", muon_momentum=0.9)
    assert isinstance(optimizer, MuonWithAdamW)
    assert [group["role"] for group in optimizer.muon.param_groups] == ["hidden matrices"]
    assert [group["role"] for group in optimizer.adamw.param_groups] == ["matrices", "rest"]
    assert optimizer.muon.param_groups[0]["momentum"] == 0.9
    assert [id(group) for group in optimizer.param_groups] == [
        id(group) for o in (optimizer.muon, optimizer.adamw) for group in o.param_groups
    ]


def test_a_model_without_hidden_matrices_trains_on_adamw_alone() -> None:
    groups = parameter_groups(nn.Linear(3, 2), muon=True)
    assert type(build_optimizer(groups, TrainSpec.parse({"optimizer": "muon"}))) is torch.optim.AdamW


def test_a_schedule_still_reaches_both_optimizers_after_a_state_was_loaded() -> None:
    optimizer = optimizer_of("muon")
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.125
    optimizer.step()
    assert isinstance(optimizer, MuonWithAdamW)
    assert {group["lr"] for o in (optimizer.muon, optimizer.adamw) for group in o.param_groups} == {0.125}


def test_a_copy_of_muon_with_adamw_moves_its_own_parameters_from_where_it_stands() -> None:
    parameters = [nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4))]
    muon = Muon([{"params": parameters[:1], "weight_decay": 0.1}], lr=0.1, momentum=0.9)
    optimizer = MuonWithAdamW(muon, torch.optim.AdamW(parameters[1:]))
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    twin, copied = copy.deepcopy((optimizer, parameters))
    for own, theirs in zip(parameters, copied, strict=True):
        own.grad, theirs.grad = torch.full_like(own, 2), torch.full_like(own, 2)
    before = [p.detach().clone() for p in parameters]
    twin.step()
    assert all(torch.equal(p, was) for p, was in zip(parameters, before, strict=True))
    optimizer.step()
    assert all(torch.equal(own, theirs) for own, theirs in zip(parameters, copied, strict=True))
    assert not any(torch.equal(p, was) for p, was in zip(parameters, before, strict=True))


@pytest.mark.parametrize(
    ("shape", "flat"), [((6, 4, 3, 3), [(6, 36)]), ((12, 4), [(4, 4)] * 3), ((8, 4), [(8, 4)])], ids=str
)
def test_muon_moves_kernels_and_packed_projections_as_the_matrices_they_are(
    shape: tuple[int, ...], flat: list[tuple[int, int]]
) -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(3)]
    parameter = nn.Parameter(start.clone())
    adamw = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    ours = MuonWithAdamW(Muon([{"params": [parameter], "weight_decay": 0.1}], lr=0.5, momentum=0.9), adamw)
    rows = [part[0] for part in flat]
    parts = [nn.Parameter(m.clone()) for m in start.view(len(start), -1).split(rows)]
    assert [tuple(part.shape) for part in parts] == flat
    theirs = torch.optim.Muon(parts, lr=0.5, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for gradient in gradients:
        parameter.grad = gradient.clone()
        for part, piece in zip(parts, gradient.view(len(start), -1).split(rows), strict=True):
            part.grad = piece.clone()
        ours.step()
        theirs.step()  # type: ignore[no-untyped-call]
    assert torch.equal(parameter.detach().view(len(start), -1), torch.cat([part.detach() for part in parts]))
    assert not torch.equal(parameter.detach(), start)


def test_matrices_moved_together_go_where_torchs_muon_moves_each() -> None:
    torch.manual_seed(0)
    shapes = [(6, 6), (9, 6), (6, 6), (6, 9), (9, 6), (6, 6)]
    ours, theirs = ([nn.Parameter(torch.full(shape, 0.5)) for shape in shapes] for _ in range(2))
    quick = Muon([{"params": ours, "weight_decay": 0.1}], lr=0.5, momentum=0.9)
    plain = torch.optim.Muon(theirs, lr=0.5, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            gradient = None if number == step else torch.randn(shapes[number])  # one is left out each time
            mine.grad, other.grad = gradient, None if gradient is None else gradient.clone()
        quick.step()
        plain.step()  # type: ignore[no-untyped-call]
        for mine, other in zip(ours, theirs, strict=True):
            assert torch.allclose(mine, other, atol=0.01)  # the iteration runs in bf16; a step moves by about 0.3
    assert all(bool((mine.detach() - 0.5).abs().mean() > 0.1) for mine in ours)


def test_muon_takes_inner_kernels_and_leaves_what_is_no_plain_matrix_in_memory() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)
    )
    model[3].to(memory_format=torch.channels_last)
    groups = {group.role: group.names for group in parameter_groups(model, muon=True)}
    assert groups["hidden matrices"] == ("1.weight",)
    assert groups["matrices"] == ("0.weight", "2.weight", "3.weight", "4.weight")


def test_muon_follows_weights_that_were_put_elsewhere() -> None:
    parameter = nn.Parameter(torch.ones(3, 3))
    muon = Muon([{"params": [parameter]}], lr=0.5, momentum=0.9)
    parameter.data = torch.zeros(3, 3)
    parameter.grad = torch.eye(3).T
    muon.step()
    assert bool(parameter.detach().abs().sum() > 0.1)


def test_what_is_no_matrix_of_numbers_is_not_muons() -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.words = nn.Embedding(10, 4)
            self.filters = nn.ParameterList([torch.zeros(4, 4, 2, 2, dtype=torch.complex64)])
            self.divided = nn.Conv2d(4, 4, 3, groups=2)
            self.empty = nn.Linear(4, 0)
            self.inner = nn.Linear(4, 4)
            self.head = nn.Linear(4, 2)

    model = Spectral()
    assert roles(parameter_groups(model, muon=True))["hidden matrices"] == ("inner.weight",)
    model.first.requires_grad_(False)
    assert roles(parameter_groups(model, muon=True))["hidden matrices"] == ("inner.weight",)


def test_a_frozen_patch_embedding_sends_no_other_matrix_to_adamw() -> None:
    model = small_vit()
    before = roles(parameter_groups(model, muon=True))["hidden matrices"]
    model.get_submodule("patch_embedding").requires_grad_(False)
    assert roles(parameter_groups(model, muon=True))["hidden matrices"] == before


def test_a_parameter_without_a_gradient_stays() -> None:
    parameter = nn.Parameter(torch.ones(3, 3))
    adamw = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    MuonWithAdamW(Muon([{"params": [parameter], "weight_decay": 0.1}], lr=0.5, momentum=0.9), adamw).step()
    assert torch.equal(parameter, torch.ones(3, 3))


def test_settings_load_no_torch() -> None:
    program = "import sys, vitscope.train.spec, vitscope.train.schedule; sys.exit('torch' in sys.modules)"
    sources = str(Path(__file__).parents[2] / "src")
    assert (
        subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {sources!r}); {program}"], check=False
        ).returncode
        == 0
    )
