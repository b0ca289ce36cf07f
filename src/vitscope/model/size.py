"""How big a model is, in closed form: spec in, parameters, FLOPs and activation memory out. No torch, no weights.

FLOPs are two per multiply-add, of matrix products and convolutions only, for one image forward: what torch's `FlopCounterMode`
counts on the explicit attention path (on the fused one it reads 0 on a CPU). Activation memory is what autograd keeps of one image
until the backward pass, in bytes at fp32. With bf16 weights it is half of that; under bf16 autocast more, as norms and softmax stay
fp32, and once a batch a bf16 copy of the weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vitscope.model.paths import TakenPath, quicker_path
from vitscope.model.spec import ViTSpec
from vitscope.model.specimens.spec import BadViTSpec, GoodViTSpec, ModelSpec, printed_vit

BYTES = 4  # of an fp32 number
STAGES = ("image", "patches", "patch_embedding", "with_class", "with_position", "encoder", "pooled", "logits")
"""The stages of the pipeline, here and in `pipeline.py`. Each but the encoder, which is all blocks and the final norm, has the name of
the intermediate that it makes."""


@dataclass(frozen=True)
class ModelSize:
    """The size of a model; the dictionaries have one entry for each of `STAGES` and add up to the totals."""

    parameters: int
    flops: int
    """Forward, one image."""
    parameters_by_stage: dict[str, int]
    flops_by_stage: dict[str, int]
    activation_bytes_explicit: int
    """Kept for the backward pass of one image at fp32 on a CPU, attention maps included."""
    activation_bytes_fused: int
    """The same where attention is one kernel that keeps no map; a specimen has no such kernel, so there both are the same."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def size_of(spec: ModelSpec) -> ModelSize:
    """The size of the model that a spec describes.

    That of `bad-vit` is the size with nothing wrong. Under `batch-mixing` the attention maps are B×B for each token instead of T×T
    for each image, so that there FLOPs and memory are these for a batch of T images only.
    """
    vit = printed_vit(spec)
    parameters = {**dict.fromkeys(STAGES, 0), **_parameters(vit)}
    flops = {**dict.fromkeys(STAGES, 0), **_flops(vit)}
    return ModelSize(
        parameters=sum(parameters.values()),
        flops=sum(flops.values()),
        parameters_by_stage=parameters,
        flops_by_stage=flops,
        activation_bytes_explicit=_kept(spec, "explicit"),
        activation_bytes_fused=_kept(spec, "fused" if spec is vit else "explicit"),
    )


def path_taken(spec: ModelSpec, device: str = "cpu") -> TakenPath:
    """How attention is computed on a device (`cpu`, `cuda`, …) in fp32 unless told otherwise; a specimen's is explicit everywhere."""
    return quicker_path(spec.tokens, device) if isinstance(spec, ViTSpec) else "explicit"


def activation_bytes(spec: ModelSpec, device: str = "cpu") -> int:
    """What autograd keeps of one image at fp32, on the path that attention takes on this device."""
    return _kept(spec, path_taken(spec, device), mask_bytes=BYTES if device == "cpu" else 1)


def _parameters(spec: ViTSpec) -> dict[str, int]:
    D, M = spec.dim, spec.mlp_width
    norm = 2 * D
    attention = 3 * D * D + (3 * D if spec.qkv_bias else 0) + D * D + D + (4 * spec.head_dim if spec.qk_norm else 0)
    mlp = D * M + M + M * D + D
    scales = 2 * D if spec.layer_scale is not None else 0
    position = (spec.class_token + spec.patches) * D if spec.position == "learned" else 0
    return {
        "patch_embedding": _embedding_weights(spec),
        "with_class": D if spec.class_token else 0,
        "with_position": position + spec.registers * D,
        "encoder": spec.depth * (2 * norm + attention + mlp + scales) + (norm if spec.norm == "pre" else 0),
        "logits": D * spec.classes + spec.classes,
    }


def _flops(spec: ViTSpec) -> dict[str, int]:
    T, D = spec.tokens, spec.dim
    projections = 2 * T * D * 3 * D + 2 * T * D * D
    maps = 2 * T * T * D + 2 * T * T * D  # q kᵀ and map · v, over all heads
    mlp = 2 * 2 * T * D * spec.mlp_width
    if spec.patch_embedding == "conv-tokenizer":
        embedding = sum(2 * places * 9 * c_in * c_out for places, c_in, c_out in _convolutions(spec))
    else:
        embedding = 2 * spec.patches * spec.patch_dim * D
    return {
        "patch_embedding": embedding,
        "encoder": spec.depth * (projections + maps + mlp),
        "logits": 2 * D * spec.classes,
    }


def _embedding_weights(spec: ViTSpec) -> int:
    if spec.patch_embedding == "conv-tokenizer":
        return sum(9 * c_in * c_out for _, c_in, c_out in _convolutions(spec))
    return spec.patch_dim * spec.dim + spec.dim


def _convolutions(spec: ViTSpec) -> list[tuple[int, int, int]]:
    """Pixels, input and output channels of each convolution of the tokenizer; a pooling behind each halves both sides."""
    widths = spec.tokenizer_channels
    pixels = spec.image_size[0] * spec.image_size[1]
    return [(pixels // 4**layer, widths[layer], widths[layer + 1]) for layer in range(spec.tokenizer_layers)]


def _kept(model: ModelSpec, path: TakenPath, *, mask_bytes: int = BYTES) -> int:
    """Bytes that autograd keeps of one image. Counted are the tensors that grow with the image; each line names its keepers.

    A dropout mask has `mask_bytes` an element: ours has the input's dtype (`dropout.py`), torch's own, elsewhere than on a CPU, is of
    booleans.
    """
    spec, fused = printed_vit(model), path == "fused"
    dropped = spec.patches - spec.patches_in_training
    T, D, M, K = spec.tokens - dropped, spec.dim, spec.mlp_width, spec.heads
    block = 2 * T * D  # inputs of both norms
    block += 2 * 2 * T  # their means and deviations
    block += 2 * T * D  # inputs of qkv and of the MLP's first layer
    block += 3 * T * D  # queries, keys, values
    block += K * T if fused else K * T * T  # row sums of the maps, or the maps
    if isinstance(model, BadViTSpec):
        block += T * D  # scaled queries, which nn.MultiheadAttention has beside the packed ones
    block += T * D  # input of the output layer
    block += (1 if spec.activation == "relu" else 2) * T * M  # around the activation; ReLU keeps its output only
    if spec.dropout_at("mlp") and spec.activation == "relu":
        block += T * M  # ReLU's output is no longer the next layer's input
    if spec.layer_scale is not None:
        block += 2 * T * D  # what is scaled
    if spec.qk_norm or (fused and spec.position == "rotary"):
        block += 3 * T * D  # the packed queries, keys, values beside the normed or turned ones
    if spec.qk_norm:
        block += 2 * 2 * K * T  # means and deviations
    if isinstance(model, GoodViTSpec):
        ends = T * D + 2 + D  # it reads the class token first and norms that row only
    else:
        ends = T * D + 2 * T if spec.norm == "pre" else 0  # input of the final norm
        ends += T * D if spec.class_token else D  # what the head reads: a row of all tokens, or their mean
    if dropped:
        ends += (
            T + dropped - spec.registers
        ) * D + 2 * spec.patches  # what was drawn from, and the order, in 64-bit numbers
    masks = T * D if spec.dropout_at("embedding") else 0
    masks += spec.depth * T * D if spec.dropout_at("projection") else 0
    masks += spec.depth * (T * M + T * D) if spec.dropout_at("mlp") else 0
    return BYTES * (spec.depth * block + ends + _kept_by_embedding(spec)) + mask_bytes * masks


def _kept_by_embedding(spec: ViTSpec) -> int:
    pixels = spec.image_size[0] * spec.image_size[1]
    if spec.patch_embedding != "conv-tokenizer":
        return pixels * spec.channels  # the image, cut or not
    # Of each layer: its input, the pooling's input and its choices, which are 64-bit numbers; of the last one the ReLU's output too.
    layers = sum(
        places * c_in + places * c_out + 2 * places // 4 * c_out for places, c_in, c_out in _convolutions(spec)
    )
    return layers + spec.patches * spec.dim
