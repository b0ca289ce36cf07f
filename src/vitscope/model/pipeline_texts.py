"""The sentences of the pipeline, in English and Japanese; letters in braces are the shape letters and are filled in by `pipeline.py`."""

from __future__ import annotations

from dataclasses import dataclass

from vitscope._core.text import Text


@dataclass(frozen=True)
class Words:
    """What a stage is called, what it does, and why it is there."""

    name: Text
    what: Text
    why: Text


IMAGE = Words(
    Text("image", "画像"),
    Text(
        "The input is an image of height {H}, width {W} and channel count {C}, normalised per channel.",
        "入力は高さ{H}、幅{W}、チャネル数{C}の画像で、チャネルごとに正規化しておきます。",
    ),
    Text(
        "A Transformer reads a sequence of tokens; the next stages turn the grid into one.",
        "Transformerが読むのはトークンの列なので、以降の段階で画素の格子をトークンの列に変えます。",
    ),
)

PATCHES = {
    "cut": Words(
        Text("split into patches", "パッチ分割"),
        Text(
            "The image is cut into {N} patches that do not overlap, and each is written out as a row of {numbers} numbers.",
            "画像を重なりのない{N}個のパッチに切り分け、それぞれを{numbers}個の数値の列にします。",
        ),
        Text(
            "Attention compares every token with every other: that is affordable for {N} patches, not for {pixels} pixels.",
            "アテンションは、すべてのトークンを互いに比べます。{N}個のパッチなら計算できますが、{pixels}個の画素のままでは計算量が大きすぎます。",
        ),
    ),
    "overlapping": Words(
        Text("overlapping patches", "重なりのあるパッチ"),
        Text(
            "Nothing is cut: the convolutions of the next stage look at {N} overlapping windows of {reach}×{reach} pixels.",
            "切り分けは行わず、次の段階の畳み込みが、互いに重なり合う{reach}×{reach}画素の窓を{N}か所で見ます。",
        ),
        Text(
            "Overlap keeps edges that a cut would split, which helps where training images are few.",
            "切り分けると失われる境界の情報が残るため、学習画像が少ないときに役立ちます。",
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
        "全パッチ共通の行列を掛けるのと同じ関数です。",
    ),
    "conv-tokenizer": Text(
        "{convolutions} × (3×3 convolution, ReLU, 3×3 max pooling of stride 2) make a token of {D} at each place.",
        "「3×3畳み込み、ReLU、ストライド2の3×3最大プーリング」を{convolutions}回行い、各位置に{D}次元のトークンを作ります。",
    ),
}
EMBEDDING_WHY = Text(
    "All layers that follow work at one width; which features of a patch it carries is learned here.",
    "以降の層はすべて同じ次元で計算します。パッチのどの特徴をトークンに残すかは、ここで学習されます。",
)

PREFIX = {
    "class-token": Words(
        Text("prepend [CLS]", "[CLS]トークンを先頭に追加"),
        Text(
            "One learned token, the same for every image, is put in front of the patches.",
            "どの画像にも共通のトークン（学習パラメータ）を1つ、パッチの列の先頭に加えます。",
        ),
        Text(
            "It belongs to no patch, so it is free to gather from all of them what the classification needs.",
            "どのパッチにも属さないので、分類に必要な情報を全パッチから集める役割を担えます。",
        ),
    ),
    "mean": Words(
        Text("no [CLS]", "[CLS]トークンなし"),
        Text(
            "Nothing is put in front: this model reads the mean of its patch tokens in the end.",
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
    "A learned table with one row for each token is added.", "トークンごとに1行を持つ表（学習パラメータ）を加算します。"
)
_SINCOS = Text(
    "A fixed table of sines and cosines of each patch's row and column is added.",
    "各パッチの行と列から計算した、正弦・余弦の固定の表を加算します。",
)
_NONE = Text(
    "Nothing is added: a token carries no trace of its place.",
    "何も加算しません。トークンには位置の手がかりがありません。",
)
_ROTARY = Text(
    "Nothing is added here: each attention turns queries and keys by angles that grow with row and column.",
    "ここでは何も加算せず、各アテンションの中で、クエリとキーを行と列に応じた角度だけ回転させます。",
)
POSITION_WHAT = {
    ("learned", "class-token"): Text(
        "A learned table with one row for each token is added; the class token has its row too.",
        "トークンごとに1行を持つ表（学習パラメータ）を加算します。クラストークンにも1行あります。",
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
    "some": Text(
        "Self-attention computes over all patches in parallel and takes no account of which are near and which are far; without "
        "position the image's layout is ignored altogether.",
        "自己アテンションは全パッチを並列に計算し、どれが近くどれが遠いかを区別しません。位置の情報がなければ、画像内の配置は一切考慮されません。",
    ),
    "none": Text(
        "A control: without position, shuffling the patches leaves the scores unchanged, since self-attention takes no account of "
        "which patches are near and which are far.",
        "比較実験のための設定です。自己アテンションはどのパッチが近くどれが遠いかを区別しないので、位置の情報がなければ、パッチを並べ替えてもスコアは変わりません。",
    ),
}
POSITION_WHY["tokenizer"] = Text(
    "The overlapping convolutions have seen which pixels are neighbours, so part of the layout is known without it.",
    "重なり合う畳み込みが隣接する画素をまとめて見ているので、位置埋め込みがなくても配置の情報は一部残ります。",
)
REGISTERS = Text(
    "Then learned register tokens without a position join (R = {R}); they are dropped before the read-out.",
    "続いて、位置を持たないレジスタトークン（学習パラメータ）を{R}個加えます。これらは読み出しの前に取り除きます。",
)

ENCODER = Words(
    Text("Transformer encoder", "Transformerエンコーダ"),
    Text(
        "In each layer every token first gathers from all tokens (attention, {K} heads of {E}), then is transformed by itself "
        "(MLP, {M} wide), and each result is added to what was there.",
        "各層では、まずアテンション（{E}次元×{K}ヘッド）で全トークンから情報を集め、次にMLP（中間層{M}次元）でトークンごとに変換し、"
        "それぞれの結果を元の値に足します。",
    ),
    Text(
        "Every patch can consult every other from the first layer on, and the sums let gradients reach all {L} layers.",
        "最初の層からすべてのパッチが互いを参照でき、足し合わせる構造（残差接続）のおかげで勾配が{L}層すべてに届きます。",
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
        "Queries and keys are normed head by head (QK-norm).", "クエリとキーはヘッドごとに正規化します（QK-norm）。"
    ),
    "layer_scale": Text(
        "A learned factor for each channel scales what is added (LayerScale).",
        "足す値には、チャネルごとの係数（学習パラメータ）を掛けます（LayerScale）。",
    ),
    "stochastic_depth": Text(
        "In training a branch is skipped at random, in the last layer with {percent} % (stochastic depth).",
        "学習時にはブランチを確率的にスキップします。その確率は最後の層で{percent} %です（stochastic depth）。",
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
            "One vector must stand for the whole image, and this token has gathered it layer by layer.",
            "画像全体を1本のベクトルで表す必要があり、このトークンは層を経るごとに画像全体の情報を集めてきました。",
        ),
    ),
    "mean": Words(
        Text("mean of the patch tokens", "パッチトークンの平均"),
        Text("The {N} patch tokens are averaged.", "{N}個のパッチトークンを平均します。"),
        Text(
            "One vector must stand for the whole image; here all patches have an equal say in it.",
            "画像全体を1本のベクトルで表す必要があり、ここでは全パッチが等しい重みで加わります。",
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
        "Scores, not probabilities, are what cross-entropy expects; softmax turns them into probabilities outside of the model.",
        "交差エントロピーが受け取るのは確率ではなくスコアです。確率への変換（softmax）はモデルの外で行います。",
    ),
)
