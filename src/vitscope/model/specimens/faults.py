"""What each fault of `bad-vit` changes, in one sentence of each language, and where. No torch: `vitscope models` and `explain` print it.

The code of each is in `exhibits.py`, under the same name.
"""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.model.specimens.spec import BadViTFault

HYPOTHESIS = Text(
    "That the printed model was built this way is a hypothesis: every fault prints the same, so the print cannot decide it.",
    "printされたモデルが実際にこう作られていたというのは仮説です。どの不具合でもprintの出力は同じなので、出力からは判別できません。",
)
"""Said of the default, `batch-mixing`, wherever it is listed."""

PRINTS_AS = Text(
    "These are the stages that the model prints as; a stage where a fault changes what is computed says so.",
    "これはprintの出力から読み取れる段階です。不具合によって実際の計算が変わる段階には、その旨を示します。",
)

FAULT_EFFECTS: dict[BadViTFault, Text] = {
    "none": Text(
        "Nothing is wrong: batch-first attention, position added, pre-norm, both skips, class token read.",
        "不具合はありません。batch_first=Trueのアテンション、位置埋め込みの加算、pre-norm、2本の残差接続、"
        "クラストークンの読み出しがすべて正しく実装されています。",
    ),
    "batch-mixing": Text(
        "nn.MultiheadAttention is left at batch_first=False and fed (B, T, D): each token attends to the same place in the other "
        "images of the batch, the class token never meets a patch, and the scores do not depend on the image.",
        "nn.MultiheadAttentionがbatch_first=Falseのまま(B, T, D)を受け取ります。各トークンは同じバッチの別の画像の同じ位置だけを参照し、"
        "クラストークンはパッチを一度も参照しないため、スコアは画像に依存しません。",
    ),
    "batch-mixing-mean": Text(
        "Batch and tokens are mixed up as in batch-mixing, but the mean of all tokens is read: it learns, but from its neighbours "
        "in the batch.",
        "batch-mixingと同じくバッチ軸とトークン軸を取り違えていますが、全トークンの平均を読み出します。学習は進みますが、"
        "結果は同じバッチの他の画像に左右されます。",
    ),
    "no-position": Text(
        "The position embedding exists and is never added: the order of the patches is invisible.",
        "位置埋め込みを持っているのに加算しません。パッチの並び順がモデルには分かりません。",
    ),
    "position-frozen-zero": Text(
        "The position embedding is added, but it is zero and excluded from training (requires_grad=False).",
        "位置埋め込みを加算してはいますが、値は0で、requires_grad=Falseのため学習もされません。",
    ),
    "scrambled-patches": Text(
        "proj(x).reshape(B, N, D) instead of flatten and transpose: each token holds pieces of a few channels from many patches.",
        "flattenとtransposeの代わりにproj(x).reshape(B, N, D)としています。"
        "1つのトークンに、多数のパッチの値が数チャネル分ずつ混ざります。",
    ),
    "no-residual": Text(
        "Both skips are missing: each branch replaces what was there instead of adding to it.",
        "残差接続が2本ともありません。各ブランチの出力が入力に足されず、入力を置き換えてしまいます。",
    ),
    "post-norm": Text(
        "The norms stand after the sums instead of before the branches: legitimate, but harder to train without warm-up.",
        "LayerNormがブランチの前ではなく加算の後にあります。正当な設計ですが、ウォームアップなしでは学習が難しくなります。",
    ),
    "norm-unused": Text(
        "The final norm is listed and never called: the head reads tokens whose scale is unchecked.",
        "最後のLayerNormが定義されているだけで、呼び出されません。ヘッドは大きさのそろっていないトークンを受け取ります。",
    ),
    "mlp-without-activation": Text(
        "fc1 leads straight to fc2, the activation is never called: the MLP is an affine map.",
        "fc1の出力がそのままfc2に入り、活性化関数が呼び出されません。MLPがただのアフィン変換になります。",
    ),
    "softmax-head": Text(
        "Probabilities are returned instead of scores: cross-entropy applies softmax again and its loss cannot fall below "
        "ln(e + Y − 1) − 1 (1.461 for ten classes).",
        "スコアではなく確率を返します。クロスエントロピーがsoftmaxをもう一度掛けるため、"
        "損失はln(e + Y − 1) − 1（10クラスでは1.461）より下がりません。",
    ),
    "dropout-always-on": Text(
        "F.dropout is called without training=self.training: evaluation is random too.",
        "F.dropoutをtraining=self.trainingなしで呼び出しています。評価時にもドロップアウトが効き、出力が毎回変わります。",
    ),
    "double-dropout": Text(
        "The block's dropout acts on the attention output and also on the MLP's output, which the MLP has dropped out itself already.",
        "ブロックのドロップアウトを、アテンションの出力だけでなくMLPの出力にも掛けます。MLPの出力にはMLP内で既に掛かっているため、二重になります。",
    ),
    "cls-detached": Text(
        "The class token is detached before the head: no gradient reaches anything but the head.",
        "クラストークンをヘッドの手前でdetachしています。勾配がヘッドにしか届かず、他の部分は一切学習されません。",
    ),
}

FAULT_STAGES: dict[BadViTFault, tuple[str, ...]] = {
    "none": (),
    "batch-mixing": ("encoder",),
    "batch-mixing-mean": ("encoder", "pooled"),
    "no-position": ("with_position",),
    "position-frozen-zero": ("with_position",),
    "scrambled-patches": ("patch_embedding",),
    "no-residual": ("encoder",),
    "post-norm": ("encoder",),
    "norm-unused": ("encoder",),
    "mlp-without-activation": ("encoder",),
    "softmax-head": ("logits",),
    "dropout-always-on": ("with_position", "encoder"),
    "double-dropout": ("encoder",),
    "cls-detached": ("pooled",),
}
"""The stages (`size.STAGES`) in whose code each fault lies."""
