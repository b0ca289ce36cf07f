"""The eight stages in words and sizes for the page of one image: of a built-in model as `explain` says them, of anyone else's as the trace shows.

A trace and perhaps a spec in, eight `StageWords` out.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitscope._core.text import Text
from vitscope.lens.operations import CONVOLUTIONS
from vitscope.lens.trace import Trace
from vitscope.model.pipeline import pipeline_of
from vitscope.model.pipeline_texts import EMBEDDING_NAME, EMBEDDING_WHY, HEAD, IMAGE, PATCHES, POOLED, PREFIX, Words
from vitscope.model.size import STAGES
from vitscope.model.specimens.spec import ModelSpec


@dataclass(frozen=True)
class StageWords:
    """A stage's heading and paragraph; `notes` say what is peculiar here, such as a specimen's fault."""

    number: int
    key: str
    name: Text
    shape: str
    what: Text
    why: Text
    notes: tuple[Text, ...] = ()


def stage_words(trace: Trace, spec: ModelSpec | None) -> tuple[StageWords, ...]:
    """The words of each stage, in order."""
    if spec is not None:
        return tuple(
            StageWords(s.number, s.key, s.name, s.shape, s.what, s.why, tuple(note.text for note in s.notes))
            for s in pipeline_of(spec).stages
        )
    values = _values(trace)
    rows = (
        (IMAGE, "{H}×{W}×{C}"),
        (_patches(trace), "{down}×{across} = {N} patch{es}"),
        (_embedding(trace), "{N} token{s} of {D}"),
        (_prefix(trace), "{T} tokens of {D}"),
        (_position(trace), "{T} × {D}"),
        (_ENCODER, "{L} layer{more}"),
        (_pooled(trace), "{pooled}"),
        (HEAD if trace.anatomy.head else _NO_HEAD, "{Y}"),
    )
    return tuple(
        StageWords(
            number, key, words.name, shape.format(**values), words.what.format(**values), words.why.format(**values)
        )
        for number, (key, (words, shape)) in enumerate(zip(STAGES, rows, strict=True), start=1)
    )


_NOTHING = Text("", "")
_OWN_PATCHES = Words(
    Text("split into patches", "パッチ分割"),
    Text(
        "Of the image become {N} patches; they overlap, or several layers work on them, so there is no cut to show.",
        "画像は{N}個のパッチになります。パッチが重なり合うか、複数の層で処理されるため、切り分けた図は示せません。",
    ),
    _NOTHING,
)
_SCATTERED = Words(
    Text("split into patches", "パッチ分割"),
    Text(
        "The image becomes {N} tokens of {numbers} numbers each, but what goes into one token is NOT a square of neighbouring pixels.",
        "画像は、それぞれ{numbers}個の数値からなる{N}個のトークンになりますが、1つのトークンに入るのは隣り合う画素の四角い領域ではありません。",
    ),
    Text(
        "A patch is meant to hold what stands together in the picture; where its pixels are scattered, what is near is lost.",
        "本来パッチは、画像の中でひとまとまりの領域を表すものです。画素が散らばっていると、近さの情報が失われます。",
    ),
)
_OWN_EMBEDDING = Words(
    Text("embedding", "埋め込み"),
    Text(
        "Layers of the model's own make a token of {D} numbers of each patch.",
        "モデル独自の層で、各パッチを{D}次元のトークンに変換します。",
    ),
    EMBEDDING_WHY,
)
_SEVERAL = Words(
    Text("prepend extra tokens", "追加トークンを加える"),
    Text(
        "{extra} learned tokens that are no patch join: a class token, and others such as registers or a distillation token.",
        "パッチではない学習可能なトークンを{extra}個加えます（クラストークンと、レジスタや蒸留トークンなど）。",
    ),
    Text(
        "They belong to no place, so they are free to gather from all patches; registers take up what large models would else store in patches.",
        "どの場所にも属さないので、全パッチから情報を集められます。レジスタは、大きなモデルがパッチに書き込みがちな情報の置き場になります。",
    ),
)
_ADDED = Words(
    Text("add position embedding", "位置埋め込みを加算"),
    Text("A table with a row for each place is added to the tokens.", "位置ごとに1行を持つ表をトークンに加算します。"),
    Text(
        "Self-attention computes over all patches in parallel and takes no account of which are near and which are far; without "
        "position the image's layout is ignored altogether.",
        "自己アテンションは全パッチを並列に処理し、どれが近くどれが遠いかを区別しません。位置の情報がなければ、画像内の配置は一切考慮されません。",
    ),
)
_NOT_ADDED = Words(
    Text("no position is added", "位置の加算なし"),
    Text(
        "Nothing is added to the tokens for their place. Position may still enter inside the attention (a rotary position, a bias of its scores).",
        "位置を表す値はトークンに加算されていません。ただし、アテンションの中で（回転位置埋め込みやスコアへのバイアスとして）加わっている場合があります。",
    ),
    _ADDED.why,
)
_ENCODER = Words(
    Text("Transformer encoder", "Transformerエンコーダ"),
    Text(
        "In each of {L} layers, attention ({K} heads of {E}) lets every token gather from all tokens, and an MLP transforms each token by itself; "
        "the result of each is added to its input.",
        "{L}層のそれぞれで、アテンション（{E}次元×{K}ヘッド）により各トークンが全トークンから情報を集め、MLPでトークンごとに変換し、それぞれの結果を入力に足します。",
    ),
    Text(
        "Every patch can consult every other from the first layer on, and the sums let gradients reach every layer.",
        "最初の層から、すべてのパッチが互いを参照できます。また、入力に足す構造（残差接続）のおかげで、勾配がすべての層に届きます。",
    ),
)
_READ_OTHERWISE = Words(
    Text("what is read out", "読み出し"),
    Text(
        "The scores are read from {read} of the {T} tokens.",
        "スコアは、{T}個のうち{read}個のトークンから読み出されます。",
    ),
    POOLED["class-token"].why,
)
_NO_HEAD = Words(
    Text("class scores", "クラスのスコア"),
    Text(
        "{Y} scores come out; no single linear layer makes them.",
        "{Y}個のスコアが出力されます。単一の線形層によるものではありません。",
    ),
    _NOTHING,
)


def _values(trace: Trace) -> dict[str, object]:
    C, H, W = trace["image"].shape
    down, across = trace.layout.grid
    heads, _, width = trace["block00/q"].shape
    numbers = trace.layout.pixels.shape[1] if trace.layout.pixels is not None else 0
    pooled = trace.get("pooled")
    return {
        "H": H,
        "W": W,
        "C": C,
        "down": down,
        "across": across,
        "N": down * across,
        "numbers": numbers,
        "pairs": (down * across) ** 2,
        "pixels": H * W,
        "pixel_pairs": (H * W) ** 2,
        "D": trace["patch_embedding"].shape[-1],
        "T": len(trace.layout.patch_of_token),
        "extra": len(trace.layout.extra),
        "read": len(trace.reads),
        "L": len(trace.anatomy.blocks),
        "K": heads,
        "E": width,
        "Y": len(trace["logits"]),
        "es": "" if down * across == 1 else "es",
        "s": "" if down * across == 1 else "s",
        "more": "" if len(trace.anatomy.blocks) == 1 else "s",
        "pooled": "–" if pooled is None else str(pooled.shape[-1]),
    }


def _patches(trace: Trace) -> Words:
    if trace.layout.pixels is None:
        return _OWN_PATCHES
    return PATCHES["cut"] if trace.layout.are_squares else _SCATTERED


def _embedding(trace: Trace) -> Words:
    if trace.layout.pixels is None:
        return _OWN_EMBEDDING
    is_convolution = trace.anatomy.patch_embedding.name in CONVOLUTIONS
    what = Text(
        "One matrix, the same for all patches, maps the {numbers} numbers of each to a token of {D}.",
        "全パッチ共通の1つの行列で、各パッチの{numbers}個の数値を{D}次元のトークンに変換します。",
    )
    return Words(EMBEDDING_NAME["conv" if is_convolution else "linear"], what, EMBEDDING_WHY)


def _prefix(trace: Trace) -> Words:
    match len(trace.layout.extra):
        case 0:
            return PREFIX["mean"]
        case 1:
            return PREFIX["class-token"]
        case _:
            return _SEVERAL


def _position(trace: Trace) -> Words:
    return _ADDED if trace.anatomy.with_position is not None else _NOT_ADDED


def _pooled(trace: Trace) -> Words:
    if trace.reads == (trace.class_token,):
        return POOLED["class-token"]
    patches = tuple(sorted(trace.layout.token_of_patch.values()))
    return POOLED["mean"] if trace.reads == patches else _READ_OTHERWISE
