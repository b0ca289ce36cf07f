"""What each fault of `bad-vit` changes, in one sentence of each language. No torch: `vitscope models` and `explain` print it.

The code of each is in `exhibits.py`, under the same name.
"""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.model.spec import BadViTFault

HYPOTHESIS = Text(
    "That the printed model was built this way is a hypothesis: every fault prints the same, so the print cannot decide it.",
    "printされたモデルの正体がこれだというのは仮説である。どの不具合でもprintの出力は同じなので、出力からは判別できない。",
)
"""Said of the default, `batch-mixing`, wherever it is listed."""

PRINTS_AS = Text(
    "This is the pipeline that the model prints as; what it computes depends on the fault.",
    "これはprintの出力から読み取れるパイプラインであり、実際の計算は不具合の種類によって異なる。",
)

FAULT_EFFECTS: dict[BadViTFault, Text] = {
    "none": Text(
        "Nothing is wrong: batch-first attention, position added, pre-norm, both skips, class token read.",
        "不具合なし。batch_first=Trueのアテンション、位置埋め込みの加算、pre-norm、2本の残差接続、"
        "クラストークンの読み出しがすべて正しい。",
    ),
    "batch-mixing": Text(
        "nn.MultiheadAttention is left at batch_first=False and fed (B, T, D): each token attends to the same place in the other "
        "images of the batch, the class token never meets a patch, and the scores do not depend on the image.",
        "nn.MultiheadAttentionがbatch_first=Falseのまま(B, T, D)を受け取る。各トークンは同じバッチの別画像の同じ位置だけを参照し、"
        "クラストークンはパッチを一度も見ないため、スコアが画像に依存しない。",
    ),
    "batch-mixing-mean": Text(
        "The same mix-up of batch and tokens, read out by the mean of all tokens: it learns, but from its neighbours in the batch.",
        "同じくバッチ軸とトークン軸を取り違えたまま、全トークンの平均を読み出す。学習は進むが、同じバッチの他の画像に左右される。",
    ),
    "no-position": Text(
        "The position embedding exists and is never added: the order of the patches is invisible.",
        "位置埋め込みを持っているのに加算しない。パッチの並び順がモデルには見えない。",
    ),
    "position-frozen-zero": Text(
        "The position embedding is added, but it is zero and excluded from training (requires_grad=False).",
        "位置埋め込みを加算してはいるが、値は0で、requires_grad=Falseのため学習もされない。",
    ),
    "scrambled-patches": Text(
        "proj(x).reshape(B, N, D) instead of flatten and transpose: each token holds pieces of a few channels from many patches.",
        "flattenとtransposeの代わりにproj(x).reshape(B, N, D)としている。"
        "1つのトークンに、多数のパッチから数チャネル分ずつの値が混ざる。",
    ),
    "no-residual": Text(
        "Both skips are missing: each branch replaces what was there instead of adding to it.",
        "残差接続が2本ともない。各ブランチの出力が入力に足されず、入力を置き換えてしまう。",
    ),
    "post-norm": Text(
        "The norms stand after the sums instead of before the branches: legitimate, but harder to train without warm-up.",
        "LayerNormがブランチの前ではなく加算の後にある。正当な設計だが、ウォームアップなしでは学習が難しくなる。",
    ),
    "norm-unused": Text(
        "The final norm is listed and never called: the head reads tokens whose scale is unchecked.",
        "最後のLayerNormが定義されているだけで呼ばれない。ヘッドは大きさの揃っていない値を受け取る。",
    ),
    "mlp-without-activation": Text(
        "fc1 leads straight to fc2, the activation is never called: the MLP is an affine map.",
        "fc1の出力がそのままfc2に入り、活性化関数が呼ばれない。MLPがただのアフィン変換になる。",
    ),
    "softmax-head": Text(
        "Probabilities are returned instead of scores: cross-entropy applies softmax again and its loss cannot fall below "
        "ln(e + Y − 1) − 1 (1.461 for ten classes).",
        "スコアではなく確率を返す。交差エントロピーがsoftmaxをもう一度掛けるため、"
        "損失はln(e + Y − 1) − 1（10クラスでは1.461）より下がらない。",
    ),
    "dropout-always-on": Text(
        "F.dropout is called without training=self.training: evaluation is random too.",
        "F.dropoutをtraining=self.trainingなしで呼んでいる。評価時にもドロップアウトが効き、出力が毎回変わる。",
    ),
    "double-dropout": Text(
        "The block's dropout acts on the attention output and also on the MLP's output, which the MLP has dropped out itself already.",
        "ブロックのドロップアウトを、アテンション出力に加えてMLPの出力にも掛ける。MLP内で済んでいるため二重になる。",
    ),
    "cls-detached": Text(
        "The class token is detached before the head: no gradient reaches anything but the head.",
        "クラストークンをヘッドの手前でdetachしている。勾配がヘッドにしか届かず、他は一切学習されない。",
    ),
}
