"""Whether tokens pass through the blocks as a residual stream should let them, and whether each block does something. In goes a patient, out come
findings; the experiments stand in `stream` and `dead`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from vitscope._core.text import Text
from vitscope.doctor.blocks.affine import affine
from vitscope.doctor.blocks.census import census_of
from vitscope.doctor.blocks.dead import dead
from vitscope.doctor.blocks.deepnorm import are_scaled_up
from vitscope.doctor.blocks.stream import Stream, stream_of
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient
from vitscope.doctor.unproved import are_all_known

DEEP = 6
"""Blocks from which post-norm is known to need warm-up."""

NO_SKIP = Fault(
    "skip-missing",
    "M18",
    "residual",
    "warning",
    Text(
        "Without a way round it, each branch has to carry the whole token: gradients fade with depth, and more blocks make the model worse.",
        "迂回路（残差接続）がないと、各残差ブランチがトークンの情報をすべて運ばなければなりません。"
        "深くなるほど勾配が弱まり、ブロックを増やすと性能が下がります。",
    ),
    Text(
        "add each branch to what went into it",
        "各残差ブランチの出力を、残差ブランチへの入力に足してください",
    ),
    "x = x + self.attn(self.norm1(x))\nx = x + self.mlp(self.norm2(x))",
    explains=("gradient-vanishes", "gradient-explodes", "post-norm", "final-norm-missing"),
)
_SIDE_BY_SIDE = "y = self.norm(x)\nx = x + self.attn(y) + self.mlp(y)"
NORMED_SKIP = Fault(
    "skip-behind-the-norm",
    "M18",
    "residual",
    "warning",
    Text(
        "The norm stands on the stream itself instead of on the branch: every block rescales all that came before it, and the gradient has no way "
        "past the norms.",
        "正規化が残差ブランチではなく本流にかかっています。"
        "ブロックを通るたびにそれまでの値がすべて正規化し直され、勾配が正規化を避けて通る道もありません。",
    ),
    Text(
        "give the branch a normed copy and add to what was not normed",
        "正規化した値は残差ブランチにだけ渡し、正規化する前の値に足してください",
    ),
    "x = x + self.attn(self.norm1(x))   # not x = self.norm1(x); x = x + self.attn(x)",
    explains=("gradient-vanishes", "gradient-explodes", "post-norm", "final-norm-missing"),
)
POST_NORM = Fault(
    "post-norm",
    "M19",
    "residual",
    "warning",
    Text(
        "Post-norm is legal and what nn.TransformerEncoderLayer does by default; deep stacks of it start unstably without warm-up "
        "(Xiong et al. 2020).",
        "post-normは正当な設計で、nn.TransformerEncoderLayerの既定でもあります。ただし層が深いと、ウォームアップなしでは学習初期が不安定になります"
        "（Xiong et al. 2020）。",
    ),
    Text(
        "set norm_first=True with a norm behind the last block, or warm the learning rate up",
        "norm_first=Trueにして最後のブロックの後に正規化を置くか、学習率をウォームアップしてください",
    ),
    "nn.TransformerEncoderLayer(dim, heads, norm_first=True, batch_first=True)",
)
NO_FINAL_NORM = Fault(
    "final-norm-missing",
    "M20",
    "residual",
    "note",
    Text(
        "In a pre-norm model the tokens grow with each block; the head sees that size unless a last norm takes it out.",
        "pre-normのモデルではブロックを通るたびにトークンの値が大きくなります。最後に正規化がないと、ヘッドはその大きさの影響をそのまま受けます。",
    ),
    Text(
        "put a norm between the last block and the head",
        "最後のブロックとヘッドの間に正規化を入れてください",
    ),
    "return self.head(self.norm(x)[:, 0])",
)


def residual(patient: Patient) -> Iterator[Finding]:
    """Whether there is a way round each branch, where the norms stand, and whether each block does something.

    Does: replays stretches of one forward with an attention or an MLP silenced, or with the tokens ten times as large, and looks what is left of a
    block's input, and what follows its size.
    Finds: no skip, or one that starts behind the norm (M18), in most blocks or in one whose twins, with the very same parameters, are joined
    otherwise; deep post-norm (M19); pre-norm without a last norm (M20; a
    warning where one is held and not called); blocks that change nothing or whose result is thrown away, if only that of their attentions; MLPs
    without an activation (M14).
    Must not accuse: post-norm below six blocks (a note), DeepNorm, parallel branches, LayerScale, ReZero, branches that start at zero (a note),
    stages that grow coarser, attentions that read the tokens out, matrices factored into two narrow ones.
    Source: He et al. 2016; Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture".
    """
    patient = _followed(patient)
    with torch.no_grad():
        yield from dead(patient)
        yield from affine(patient)
        stream = stream_of(patient)
    yield from _no_skip(stream)
    yield from _norms(patient, stream)


def _followed(patient: Patient) -> Patient:
    """The patient, loosely where its attentions were not followed and nothing else of it is unknown.

    Raises:
        Skipped: something is.
    """
    loose = patient.loose
    if loose is not patient and not are_all_known(loose.tape, loose.attentions):
        patient.attentions  # noqa: B018 - says why not
    return loose


def _no_skip(stream: Stream) -> Iterator[Finding]:
    attentions, mlps = stream.attentions_without_skip, stream.mlps_without_skip
    if not attentions and not mlps:
        return
    what = " and the ".join(word for word, found in (("attention", attentions), ("MLP", mlps)) if found)
    ja = "と".join(word for word, found in (("アテンション", attentions), ("MLP", mlps)) if found)
    numbers = sorted({*attentions, *mlps})
    named = [stream.homes[n] or f"block {n}" for n in numbers] if len(numbers) < stream.blocks else []
    where = Text(f" ({listed(named)})" if named else "", f"（{listed(named)}）" if named else "")
    branch, branch_ja = ("both", "両方の残差ブランチ") if stream.side_by_side else ("the branch", "残差ブランチ")
    yield (replace(NO_SKIP, code=_SIDE_BY_SIDE) if stream.side_by_side else NO_SKIP).found(
        Text(
            f"There is no residual connection round the {what} in {len(numbers)} of {stream.blocks} blocks{where.en}: with {branch} silenced, "
            "nothing of the block's input is left.",
            f"{stream.blocks}ブロック中{len(numbers)}ブロック{where.ja}で、{ja}に残差接続がありません。"
            f"{branch_ja}の出力をゼロにすると、ブロックへの入力が何も残りません。",
        ),
        {"attentions_without_skip": attentions, "mlps_without_skip": mlps, "blocks": stream.blocks},
    )


def _norms(patient: Patient, stream: Stream) -> Iterator[Finding]:
    if stream.normed_skips:
        count = len(stream.normed_skips)
        yield NORMED_SKIP.found(
            Text(
                f"The skip starts behind the norm in {count} of {stream.blocks} blocks ({listed(stream.skips_from)}): tokens ten times as large "
                "give the same.",
                f"{stream.blocks}ブロック中{count}ブロックで、残差接続が正規化の後から始まっています（{listed(stream.skips_from)}）。"
                "トークンを10倍にしても結果が変わりません。",
            ),
            {"blocks_with_normed_skip": stream.normed_skips, "norms": stream.skips_from, "blocks": stream.blocks},
        )
    elif stream.normed_before_the_mlp:
        count = len(stream.normed_before_the_mlp)
        yield NORMED_SKIP.found(
            Text(
                f"In {count} of {stream.blocks} blocks the tokens are normed before the MLP, and its skip starts behind that norm, as in Compact "
                "Transformers.",
                f"{stream.blocks}ブロック中{count}ブロックで、MLPの前でトークン自体が正規化され、MLPの残差接続がその後から始まっています"
                "（Compact Transformersと同じ形です）。",
            ),
            {"blocks_normed_before_the_mlp": stream.normed_before_the_mlp, "blocks": stream.blocks},
            severity="note",
        )
    elif are_scaled_up(patient, stream.post_norms):
        return
    elif stream.post_norms:
        yield POST_NORM.found(
            Text(
                f"The norms stand behind the sums (post-norm) in {len(stream.post_norms)} of {stream.blocks} blocks.",
                f"{stream.blocks}ブロック中{len(stream.post_norms)}ブロックで、正規化が加算の後にあります（post-norm）。",
            ),
            {"post_norm_blocks": stream.post_norms, "blocks": stream.blocks},
            severity="warning" if len(stream.post_norms) >= DEEP else "note",
        )
    elif stream.head_grows is not None:
        yield _no_final_norm(patient, stream.head_grows, _uncalled_norms(patient))


def _no_final_norm(patient: Patient, grows: float, uncalled: list[str]) -> Finding:
    """A note; a warning where a norm is held for it and never called: then it was meant to be there, and that it is unused follows."""
    names = listed(uncalled)
    is_all = bool(uncalled) and set(census_of(patient).unused) == {
        f"{path}.{name}" for path in uncalled for name, _ in patient.model.get_submodule(path).named_parameters()
    }
    fault = replace(NO_FINAL_NORM, explains=("unused-parameters",)) if is_all else NO_FINAL_NORM
    return fault.found(
        Text(
            "No norm stands between the last block and the head: with that block's tokens ten times as large, what the head is given changes "
            f"by {100 * grows:.0f} % of its size." + (f" {names} is held and never called." if uncalled else ""),
            "最後のブロックとヘッドの間に正規化がありません。最後のブロックのトークンを10倍にすると、ヘッドへの入力が"
            f"元の大きさの{100 * grows:.0f} %変わります。"
            + (f"{names}は定義されているのに呼び出されていません。" if uncalled else ""),
        ),
        {"change_of_head_input": grows, **({"never_called": uncalled} if uncalled else {})},
        severity="warning" if uncalled else "note",
    )


def _uncalled_norms(patient: Patient) -> list[str]:
    """Modules outside lists of blocks that hold vectors alone, as a norm does, and are never called."""
    try:
        never = census_of(patient).never_called
    except Skipped:
        return []
    found = []
    for path, module in patient.model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        is_of_a_block = any(part.isdigit() for part in path.split("."))
        if own and not is_of_a_block and all(p.ndim == 1 and f"{path}.{n}" in never for n, p in own.items()):
            found.append(path)
    return found
