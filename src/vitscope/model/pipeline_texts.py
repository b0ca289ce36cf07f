"""The sentences of the pipeline, in English and Japanese; letters in braces are the shape letters and are filled in by `pipeline.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitscope._core.text import Text


@dataclass(frozen=True)
class Words:
    """What a stage is called, what it does, and why it is there."""

    name: Text
    what: Text
    why: Text


@dataclass(frozen=True)
class Note:
    """What holds at a stage beside its words: in a few words for a table, and in sentences."""

    mark: Text
    text: Text

    def to_dict(self) -> dict[str, Any]:
        return {"mark": self.mark.to_dict(), "text": self.text.to_dict()}


IMAGE = Words(
    Text("image", "画像"),
    Text(
        "The input is an image of {H}×{W}×{C} numbers (height, width, channels), normalised channel by channel.",
        "入力は{H}×{W}×{C}（高さ×幅×チャネル数）の画像で、数値はチャネルごとに正規化してあります。",
    ),
    Text(
        "A Transformer reads a sequence of tokens; the next stages turn the grid of pixels into one.",
        "Transformerが受け取るのはトークンの列なので、次の段階から画素の格子をトークンの列に変えていきます。",
    ),
)

PATCHES = {
    "cut": Words(
        Text("split into patches", "パッチ分割"),
        Text(
            "The image is cut into {N} patches that do not overlap, and each is written out as a row of {numbers} numbers.",
            "画像を、互いに重ならない{N}個のパッチに切り分け、それぞれを{numbers}個の数値の列にします。",
        ),
        Text(
            "Attention compares each token with all tokens: {N:,} patches make {N:,} × {N:,} = {pairs:,} comparisons in each head, "
            "while one token for each of the {pixels:,} pixels would make {pixel_pairs:,}.",
            "アテンションは、各トークンをすべてのトークンと比べます。ヘッド1つあたりの比較の回数は、{N:,}個のパッチなら{N:,}×{N:,}＝{pairs:,}回ですが、"
            "{pixels:,}個の画素を1つずつトークンにすると{pixel_pairs:,}回になります。",
        ),
    ),
    "overlapping": Words(
        Text("overlapping patches", "重なりのあるパッチ"),
        Text(
            "Nothing is cut here: the convolutions of the next stage look at {N} overlapping windows of {reach}×{reach} pixels.",
            "ここでは切り分けません。次の段階の畳み込みが、互いに重なり合う{reach}×{reach}画素の窓を{N}か所で見ます。",
        ),
        Text(
            "Windows that overlap keep whole what a cut would split; Compact Transformers brought this in for small training sets.",
            "切り分けると分断される部分も、重なりのある窓なら途切れません。少ない学習画像のためにCompact Transformersが取り入れた方法です。",
        ),
    ),
}

EMBEDDING_NAME = {
    "linear": Text("linear embedding", "線形埋め込み"),
    "conv": Text("linear embedding (as a strided convolution)", "線形埋め込み（ストライド付き畳み込みによる）"),
    "conv-tokenizer": Text("convolutional tokenizer", "畳み込みトークナイザ"),
}
EMBEDDING_WHAT = {
    "linear": Text(
        "One matrix, the same for all patches, maps the {numbers} numbers of each to a token of {D}.",
        "全パッチ共通の1つの行列で、各パッチの{numbers}個の数値を{D}次元のトークンに変換します。",
    ),
    "conv": Text(
        "One convolution, whose kernel and stride are the patch, maps the {numbers} numbers of each patch to a token of {D}: "
        "the same function as one matrix for all.",
        "カーネルとストライドをパッチの大きさに合わせた1つの畳み込みで、各パッチの{numbers}個の数値を{D}次元のトークンに変換します。"
        "関数としては、全パッチ共通の1つの行列を掛けるのと同じです。",
    ),
    "conv-tokenizer": Text(
        "Out of {convolutions} × (3×3 convolution, ReLU, 3×3 max pooling with stride 2) comes a token of {D} at each place.",
        "「3×3畳み込み、ReLU、ストライド2の3×3最大プーリング」を{convolutions}回行い、各位置に{D}次元のトークンを作ります。",
    ),
}
EMBEDDING_WHY = Text(
    "All layers that follow work on tokens of this one width; what a token keeps of its patch is learned here.",
    "以降の層はすべて、この次元のトークンを扱います。パッチのどの特徴をトークンに残すかは、ここで学習によって決まります。",
)

PREFIX = {
    "class-token": Words(
        Text("prepend [CLS]", "[CLS]トークンを先頭に追加"),
        Text(
            "One learned token, the same for every image, is put in front of the patch tokens.",
            "全画像に共通の学習可能なトークンを1つ、パッチトークンの列の先頭に加えます。",
        ),
        Text(
            "It belongs to no patch, so it is free to gather from all of them what the classification needs.",
            "どのパッチにも属さないので、分類に必要な情報を全パッチから集める役割を担えます。",
        ),
    ),
    "mean": Words(
        Text("no [CLS]", "[CLS]トークンなし"),
        Text(
            "Nothing is put in front: this model reads the mean of its patch tokens at the end.",
            "先頭には何も加えません。このモデルは最後にパッチトークンの平均を読み出します。",
        ),
        Text(
            "A mean needs no token of its own, and every patch takes part in the result directly.",
            "平均なら専用のトークンは不要で、すべてのパッチが結果に直接関わります。",
        ),
    ),
}

POSITION_NAME = {
    ("learned", "class-token"): Text(
        "add position embedding, to [CLS] too", "位置埋め込みを加算（クラストークンにも）"
    ),
    ("learned", "mean"): Text("add position embedding", "位置埋め込みを加算"),
    ("sincos", "class-token"): Text(
        "add sine-cosine position embedding, zeros to [CLS]", "正弦・余弦の位置埋め込みを加算（クラストークンには0）"
    ),
    ("sincos", "mean"): Text("add sine-cosine position embedding", "正弦・余弦の位置埋め込みを加算"),
    ("none", "class-token"): Text("no position embedding", "位置埋め込みなし"),
    ("none", "mean"): Text("no position embedding", "位置埋め込みなし"),
    ("rotary", "class-token"): Text(
        "rotary position, inside each attention", "回転位置埋め込み（各アテンションの中で適用）"
    ),
    ("rotary", "mean"): Text("rotary position, inside each attention", "回転位置埋め込み（各アテンションの中で適用）"),
}
_LEARNED = Text(
    "A learned table with one row for each token is added.", "1トークンにつき1行を持つ、学習可能な表を加算します。"
)
_SINCOS = Text(
    "A fixed table of sines and cosines of each patch's row and column is added.",
    "各パッチの行と列から計算した、正弦・余弦の固定の表を加算します。",
)
_NONE = Text("Nothing is added to the tokens.", "トークンには何も加算しません。")
_ROTARY = Text(
    "Nothing is added here: each attention turns queries and keys by angles that grow with row and column.",
    "ここでは何も加算せず、各アテンションの中で、クエリとキーを行と列に応じた角度だけ回転させます。",
)
POSITION_WHAT = {
    ("learned", "class-token"): Text(
        "A learned table with one row for each token is added; the class token has its row too.",
        "1トークンにつき1行を持つ、学習可能な表を加算します。クラストークンにも対応する行があります。",
    ),
    ("learned", "mean"): _LEARNED,
    ("sincos", "class-token"): _SINCOS,
    ("sincos", "mean"): _SINCOS,
    ("none", "class-token"): _NONE,
    ("none", "mean"): _NONE,
    ("rotary", "class-token"): _ROTARY,
    ("rotary", "mean"): _ROTARY,
}
POSITION_WHY = {
    ("cut", "some"): Text(
        "Self-attention computes over all patches in parallel and takes no account of which are near and which are far; without "
        "position the image's layout is ignored altogether.",
        "自己アテンションは全パッチを並列に処理し、どれが近くどれが遠いかを区別しません。位置の情報がなければ、画像内の配置は一切考慮されません。",
    ),
    ("cut", "none"): Text(
        "A control: without position, shuffling the patches leaves the scores unchanged to rounding error, since self-attention "
        "takes no account of which patches are near and which are far.",
        "比較実験のための設定です。自己アテンションはどのパッチが近くどれが遠いかを区別しないので、位置の情報がなければ、"
        "パッチを並べ替えてもスコアは丸め誤差の範囲でしか変わりません。",
    ),
    ("overlapping", "some"): Text(
        "Self-attention computes over all places in parallel and takes no account of which are near and which are far; without "
        "position, only what the overlapping convolutions have seen of the image's layout would be left.",
        "自己アテンションは全位置を並列に処理し、どれが近くどれが遠いかを区別しません。位置の情報がなければ、画像内の配置について残るのは、"
        "重なりのある畳み込みが捉えた分だけです。",
    ),
    ("overlapping", "none"): Text(
        "The overlapping convolutions have seen which pixels are neighbours, so part of the image's layout is known without it.",
        "重なりのある畳み込みが隣り合う画素をまとめて見ているので、位置埋め込みがなくても、画像内の配置の情報は一部残ります。",
    ),
}
REGISTERS = Text(
    "Then learned register tokens without a position join (R = {R}); the read-out leaves them out.",
    "続いて、位置を持たない学習可能なレジスタトークンを{R}個加えます。これらは読み出しでは使いません。",
)

ENCODER = Words(
    Text("Transformer encoder", "Transformerエンコーダ"),
    Text(
        "In each layer, attention ({heads} of {E}) first lets every token gather from all tokens, then an MLP ({M} wide) transforms "
        "each token by itself; the result of each is added to its input.",
        "各層では、まずアテンション（{E}次元×{K}ヘッド）で各トークンが全トークンから情報を集め、次にMLP（中間層{M}次元）でトークンごとに変換し、"
        "それぞれの結果を入力に足します。",
    ),
    Text(
        "Every patch can consult every other from the first layer on, and the sums let gradients reach every layer.",
        "最初の層から、すべてのパッチが互いを参照できます。また、入力に足す構造（残差接続）のおかげで、勾配がすべての層に届きます。",
    ),
)
SWITCH = {
    "pre": Text(
        "LayerNorm stands before each of the two, and once more at the end.",
        "LayerNormはそれぞれの直前と、最後の層の後に置きます。",
    ),
    "post": Text("LayerNorm follows each sum (post-norm).", "LayerNormはそれぞれの加算の後に置きます（post-norm）。"),
    "rotary": Text("Position enters here, as a rotation.", "位置の情報は、ここで回転として加わります。"),
    "qk_norm": Text(
        "Queries and keys are normalised head by head (QK-norm).", "クエリとキーはヘッドごとに正規化します（QK-norm）。"
    ),
    "layer_scale": Text(
        "A learned factor for each channel scales what is added (LayerScale).",
        "足す値には、チャネルごとの学習可能な係数を掛けます（LayerScale）。",
    ),
    "stochastic_depth": Text(
        "In training, branches are skipped at random; the chance rises to {percent} % in the last layer (stochastic depth).",
        "学習時にはブランチを確率的にスキップします。その確率は層を追って上がり、最後の層で{percent} %になります（stochastic depth）。",
    ),
    "patch_dropout": Text(
        "In training, only {kept} of the {N} patches of each image, drawn anew at every step, take part (PatchDropout).",
        "学習時には、画像ごとに{N}個のパッチのうち、ステップのたびに選び直した{kept}個だけを使います（PatchDropout）。",
    ),
}

POOLED = {
    "class-token": Words(
        Text("the [CLS] token's output", "[CLS]トークンの出力"),
        Text(
            "Only the class token is read; all other tokens are dropped.",
            "クラストークンだけを読み出し、他のトークンは使いません。",
        ),
        Text(
            "One vector must stand for the whole image, and this token has gathered from all patches, layer by layer.",
            "分類には画像全体を表す1本のベクトルが必要です。このトークンは、層を重ねながら全パッチの情報を集めてきました。",
        ),
    ),
    "mean": Words(
        Text("mean of the patch tokens", "パッチトークンの平均"),
        Text("The {N} patch tokens are averaged.", "{N}個のパッチトークンを平均します。"),
        Text(
            "One vector must stand for the whole image; here all patches have an equal say in it.",
            "分類には画像全体を表す1本のベクトルが必要です。ここでは全パッチが等しい重みで加わります。",
        ),
    ),
}

HEAD = Words(
    Text("head: class scores", "分類ヘッド"),
    Text(
        "One linear layer turns the {D} numbers into {Y} scores, one for each class.",
        "1つの線形層で、{D}個の数値をクラスごとのスコア{Y}個に変換します。",
    ),
    Text(
        "PyTorch's cross-entropy loss takes scores, not probabilities; softmax makes them probabilities outside the model.",
        "PyTorchのクロスエントロピー損失が受け取るのは、確率ではなくスコアです。確率への変換（softmax）はモデルの外で行います。",
    ),
)

FOLLOWS_DATA = {
    "channels": (
        "image",
        Note(
            Text("channels follow the data", "チャネル数はデータに従う"),
            Text(
                "The number of channels follows the training data, which are not read here: {C} is assumed, at the next two stages "
                "and in the totals too.",
                "チャネル数は学習データに従いますが、ここではデータを読みません。次の2段階と合計も含めて、仮に{C}としています。",
            ),
        ),
    ),
    "classes": (
        "logits",
        Note(
            Text("classes follow the data", "クラス数はデータに従う"),
            Text(
                "The number of classes follows the training data, which are not read here: {Y} is assumed, in the totals too.",
                "クラス数は学習データに従いますが、ここではデータを読みません。合計も含めて、仮に{Y}としています。",
            ),
        ),
    ),
}
"""Of each setting that a training takes over from its data: the stage where it shows, and what is said there if it is not known."""
