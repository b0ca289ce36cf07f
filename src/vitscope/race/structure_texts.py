"""What the rows of a structural comparison are called, and whether a difference in each can matter."""

from __future__ import annotations

from vitscope._core.text import LANGS, Text

NOT_FOUND = Text("could not be followed", "追跡できず")
UNKNOWN = Text(
    "Not known: this part of one of the two could not be followed.",
    "不明です。一方のモデルでこの部分を追跡できませんでした。",
)
IN_NEITHER = Text("followed in neither", "両方で追跡できない部分")
UNKNOWN_IN_BOTH = Text(
    "Not known: these parts could be followed in neither, so nothing is said of them, not that they are the same.",
    "不明です。これらの部分はどちらのモデルでも追跡できなかったため、同じかどうかも分かりません。",
)
SEE = Text(
    "It can: what the doctor found says how ({ids}).",
    "影響しうる違いです。どう影響するかは、検査結果（{ids}）に示しています。",
)
ALIKE = Text(
    "No: both are one linear map of a patch's {pixels} numbers to {width}. The weights of one, carried into the other pixel by pixel, give "
    "the same tokens (largest relative difference {error}).",
    "影響しません。どちらもパッチの数値{pixels}個から{width}次元への線形変換です。一方の重みを画素ごとにもう一方へ移すと、"
    "同じトークンになります（相対的な差は最大{error}）。",
)
RESHAPED = Text(
    "It can, and much: the weights of one, carried into the other pixel by pixel, give the same products, but in {which} a reshape then puts pieces "
    "of several patches into one token. The two are not the same function.",
    "大きく影響しうる違いです。一方の重みを画素ごとにもう一方へ移すと積は同じになりますが、{which}では、その後の形状変更で"
    "複数のパッチの値が1つのトークンに混ざります。同じ関数ではありません。",
)
OTHER_PIXELS = Text(
    "It can: both map {pixels} numbers of the image to a token, but not the same ones. The two cut the image into other pieces, so no weights "
    "carried from one give the same tokens in the other.",
    "影響しうる違いです。どちらも画像の数値{pixels}個を1つのトークンに変換しますが、切り出す画素が異なります。"
    "重みを移しても同じトークンにはなりません。",
)
OTHER_ORDER = Text(
    "Little: the weights of one, carried into the other pixel by pixel, give the same tokens in another order, which a learned position embedding "
    "takes up.",
    "影響は小さめです。一方の重みを画素ごとにもう一方へ移すと、同じトークンが別の順序で並びます。学習する位置埋め込みなら吸収できます。",
)
OTHER_TOKENS = Text(
    "It can: the weights of one, carried into the other pixel by pixel, give other tokens (largest relative difference {error}).",
    "影響しうる違いです。一方の重みを画素ごとにもう一方へ移しても、同じトークンにはなりません（相対的な差は最大{error}）。",
)
CUT_OTHERWISE = Text(
    "It can, and much: in {which} the pixels of a token do not lie together in one square, so no token shows a part of the picture.",
    "大きく影響しうる違いです。{which}では、1つのトークンに入る画素が1つの正方形にまとまっていないため、"
    "どのトークンも画像の一部分を表しません。",
)
OTHER_SHAPE = Text(
    "It can: as many patches and numbers in each, at the same cost, but of another shape. Pixels of a long strip lie further apart than those of a "
    "square, so a token shows less of what belongs together.",
    "影響しうる違いです。パッチの数も1つに入る数値の数も計算量も同じですが、形が異なります。細長いパッチでは正方形よりも画素どうしが離れているため、"
    "1つのトークンに、まとまりのある部分が入りにくくなります。",
)
PATCHES_ALIKE = Text(
    "Little as a rule: there are as many patches, only the number of tokens that are no patch (class token, registers) differs, by {count}. The row "
    "'read out' says which tokens are used.",
    "影響は小さめです。パッチの数は同じで、パッチでないトークン（クラストークンやレジスタ）の数が{count}個違うだけです。"
    "どのトークンを使うかは「読み出し」の行を見てください。",
)
TOKENS_APART = Text(
    "It can: both cut the same number of patches, but pass on another number of tokens.",
    "影響しうる違いです。パッチの並びは同じですが、ブロックに渡すトークンの数が異なります。",
)

TWICE_IS_ONCE = Text(
    "No: cross-entropy takes a log-softmax itself, and that of a log-softmax is the same.",
    "影響しません。クロスエントロピーは内部でlog-softmaxを計算します。log-softmaxをもう一度計算しても結果は同じです。",
)
FEW_STAND_STILL = Text(
    "It can: few numbers, but they keep their start values. A table of sines and cosines is meant so; one of zeros does nothing, and neither does a "
    "layer that is not called.",
    "影響しうる違いです。数は少ないものの、初期値のまま変わりません。正弦・余弦の表なら意図どおりですが、ゼロの表や呼び出されない層は"
    "何の役割も果たしません。",
)


def which(first: bool, second: bool) -> Text:
    """Which of the two models something is said of, at least one of them."""
    if first and second:
        return Text("both", "どちらのモデル")
    return Text("the first", "1つ目のモデル") if first else Text("the second", "2つ目のモデル")


def filled(words: Text, **values: Text) -> Text:
    """Words with other words filled in, each in its language."""
    return Text(*(words[lang].format(**{key: value[lang] for key, value in values.items()}) for lang in LANGS))


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
    "scale": (
        Text("scale of the scores", "スコアのスケーリング"),
        Text(
            "It can: unscaled scores of wide heads let the softmax give all to one token, where it has hardly any gradient; too small a scale makes "
            "attention a mean.",
            "影響しうる違いです。幅の広いヘッドでスケーリングしないと、softmaxが1つのトークンに集中し、勾配がほとんどなくなります。"
            "小さすぎると、アテンションがほぼ平均になります。",
        ),
    ),
    "softmax": (
        Text("softmax of the scores", "スコアのsoftmax"),
        Text(
            "It can, and much: along another axis than the keys the shares of one token hang on those of others, and learning is slow and stops "
            "early.",
            "大きく影響しうる違いです。キー以外の軸で計算すると、1つのトークンの重みがほかのトークンの重みに左右され、"
            "学習が遅く、早い段階で頭打ちになります。",
        ),
    ),
    "mask": (
        Text("mask of attention", "アテンションマスク"),
        Text(
            "It can: what is masked is not seen. Under a causal mask a class token in front sees no patch, and most patches see only a part of the "
            "image.",
            "影響しうる違いです。マスクされたトークンは参照できません。因果マスクでは、先頭のクラストークンはどのパッチも参照できず、"
            "ほとんどのパッチは画像の一部しか参照できません。",
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
    "end": (
        Text("behind the last product", "最後の積の後"),
        Text(
            "It can, and much: cross-entropy takes scores as the last product gives them. What bounds or drops them before leaves the loss a floor.",
            "大きく影響しうる違いです。クロスエントロピーには、最後の積の出力をそのまま渡します。その前に値を制限したり落としたりすると、損失が"
            "一定の値より下がらなくなります。",
        ),
    ),
    "classes": (Text("classes", "クラス数"), Text("They answer different questions.", "解いている問題が異なります。")),
    "dropout": (
        Text("dropout", "ドロップアウト"),
        Text(
            "It can: more of it learns more slowly and overfits less; in evaluation too, it makes every answer random.",
            "影響しうる違いです。強いほど学習は遅くなり、過学習は抑えられます。評価時にも有効だと、答えが毎回変わります。",
        ),
    ),
    "learning": (
        Text("parameters that learn", "学習するパラメータ"),
        Text(
            "It can, and much: what is frozen or gets no gradient keeps its start values, which are of use only where trained weights are "
            "loaded.",
            "大きく影響しうる違いです。固定されている、または勾配の届かない値は初期値のまま変わらず、学習済みの重みを読み込む場合を除いて"
            "役に立ちません。",
        ),
    ),
    "parameters": (
        Text("parameters", "パラメータ数"),
        Text("Only through the parts above.", "上の各部の違いによるものです。"),
    ),
}
