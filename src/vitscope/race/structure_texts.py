"""What the rows of a structural comparison are called, and whether a difference in each can matter."""

from __future__ import annotations

from vitscope._core.text import Text

NOT_FOUND = Text("not found", "見つかりません")
UNKNOWN = Text(
    "Not known: this part of one of the two could not be followed.",
    "不明です。一方のモデルでこの部分を追跡できませんでした。",
)
PATCHES_ALIKE = Text(
    "Little as a rule: the patches are the same, only the number of tokens that are no patch (class token, registers) differs, by {count}. The row "
    "'read out' says which tokens are used.",
    "影響は小さめです。パッチの並びは同じで、パッチでないトークン（クラストークンやレジスタ）の数が{count}個違うだけです。"
    "どのトークンを使うかは「読み出し」の行を見てください。",
)
TOKENS_APART = Text(
    "It can: both cut the same number of patches, but pass on another number of tokens.",
    "影響しうる違いです。パッチの並びは同じですが、ブロックに渡すトークンの数が異なります。",
)
PARTS: dict[str, tuple[Text, Text]] = {
    "embedding": (
        Text("patch embedding", "パッチ埋め込み"),
        Text(
            "It can: the two do not map a patch in the same way.",
            "影響しうる違いです。パッチの変換方法が異なります。",
        ),
    ),
    "embedding norm": (
        Text("norms around the embedding", "埋め込み前後の正規化"),
        Text(
            "It can: it sets how large patches are beside the position.",
            "影響しうる違いです。位置埋め込みに対するパッチの大きさが変わります。",
        ),
    ),
    "tokens": (
        Text("tokens", "トークン"),
        Text(
            "It can: smaller patches see finer detail and cost more.",
            "影響しうる違いです。パッチが小さいほど細部が見え、計算量は増えます。",
        ),
    ),
    "position": (
        Text("position embedding", "位置埋め込み"),
        Text(
            "Its start can matter in the first epochs, its absence always.",
            "初期値の違いは最初の数エポックに、有無の違いは常に影響します。",
        ),
    ),
    "blocks": (Text("blocks", "ブロック"), Text("It can: depth.", "影響しうる違いです（深さ）。")),
    "heads": (
        Text("heads × width", "ヘッド数×幅"),
        Text(
            "Little, unless heads become narrower than 16.",
            "ヘッドの幅が16を下回らない限り、影響は小さいです。",
        ),
    ),
    "axis": (
        Text("attention compares along", "アテンションの方向"),
        Text(
            "It decides everything: along the batch no token of an image meets another.",
            "決定的な違いです。バッチ方向では、画像内のトークンどうしが情報をやり取りしません。",
        ),
    ),
    "bias": (
        Text("bias of q, k, v", "q・k・vのバイアス"),
        Text(
            "Hardly: {count} parameters, and no new function of note.",
            "ほとんど影響しません。パラメータが{count}個増えるだけです。",
        ),
    ),
    "mlp": (
        Text("MLP", "MLP"),
        Text(
            "Width can; GELU against ReLU hardly does; without an activation it is linear.",
            "幅は影響しえます。GELUとReLUの差はわずかです。活性化関数がなければ線形になります。",
        ),
    ),
    "norms": (
        Text("norms of the blocks", "ブロックの正規化"),
        Text(
            "It can: post-norm wants a warm-up and a smaller learning rate; without norms a deep model hardly trains.",
            "影響しうる違いです。post-normにはウォームアップと小さめの学習率が必要です。正規化がないと、深いモデルはほとんど学習できません。",
        ),
    ),
    "skips": (
        Text("residual connections", "残差接続"),
        Text("It can: without them depth stops helping.", "影響しうる違いです。なければ深くしても性能が上がりません。"),
    ),
    "final norm": (
        Text("norm before the head", "ヘッド前の正規化"),
        Text(
            "Little: the head then sees features whose size grows with depth.",
            "影響は小さめです。ない場合、ヘッドへの入力が深さとともに大きくなります。",
        ),
    ),
    "read out": (
        Text("read out", "読み出し"),
        Text(
            "Little: class token and mean are within a point of each other as a rule.",
            "影響は小さめです。クラストークンと平均の差は、通常1ポイント以内です。",
        ),
    ),
    "classes": (Text("classes", "クラス数"), Text("They answer different questions.", "解いている問題が異なります。")),
    "parameters": (
        Text("parameters", "パラメータ数"),
        Text("Only through the parts above.", "上の各部の違いによるものです。"),
    ),
}
