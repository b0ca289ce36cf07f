"""Whether an image's scores hang on the images beside it in the batch. In go batches of a patient's images, out come findings, with the
mechanism where it is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.forward.competing import compete, competing
from vitscope.doctor.forward.cut_positions import cut_along_the_batch, row_by_count
from vitscope.doctor.forward.determinism import is_random
from vitscope.doctor.forward.first_image import EVERYTHING_INSIDE, one_image_read, taken
from vitscope.doctor.forward.meetings import TRIED, where_they_meet
from vitscope.doctor.forward.shapes import refuse_not_finite
from vitscope.doctor.forward.slots import slot_parameters
from vitscope.doctor.mixing.batch_axis import attentions_along_the_batch, told_batch_first
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient

SLIGHT = 1e-3
"""An influence below this, of no operation that was found, is a statistic's rather than that of a mistaken axis."""
_WHY = Text(
    "A prediction depends on which other images happen to be in the batch: training sees mixtures, and the accuracy changes with the batch size, the "
    "order and the last batch.",
    "予測が、たまたま同じバッチに入ったほかの画像に左右されます。学習では画像が混ざり、"
    "正解率はバッチサイズや順番、最後のバッチの大きさで変わります。",
)
ACROSS = Fault(
    "attention-across-the-batch",
    "M1",
    "batch-independence",
    "error",
    _WHY,
    Text(
        "nn.MultiheadAttention and nn.TransformerEncoderLayer expect (tokens, batch, width) unless told otherwise: pass batch_first=True; in an "
        "attention of one's own, let the batch be an axis that the products run beside, not along",
        "nn.MultiheadAttentionとnn.TransformerEncoderLayerは、指定しない限り(トークン, バッチ, 幅)の順を想定します。"
        "batch_first=Trueを渡してください。"
        "自作のアテンションでは、積がバッチの軸に沿って計算されないようにしてください",
    ),
    "nn.TransformerEncoderLayer(dim, heads, batch_first=True)",
    explains=EVERYTHING_INSIDE,
)
MEET = Fault(
    "images-of-a-batch-meet",
    "M1",
    "batch-independence",
    "error",
    _WHY,
    Text(
        "look at the named operation: an axis is taken for another there (a view without a transpose, dim=0, a mean over the batch)",
        "上に挙げた演算を確認してください。軸の取り違え（transposeのないview、dim=0の指定、バッチ方向の平均）が起きています",
    ),
    explains=EVERYTHING_INSIDE,
)
STATISTICS = Fault(
    "batch-statistics-in-evaluation",
    "M1",
    "batch-independence",
    "warning",
    Text(
        "In evaluation an image's scores depend on its neighbours: they differ with the batch size and with the order of the images.",
        "評価時のスコアが同じバッチのほかの画像に左右され、バッチサイズや画像の順番によって変わります。",
    ),
    Text(
        "take the statistics of each image by itself, or use in evaluation those that training has followed (track_running_stats=True)",
        "統計量は画像ごとに計算するか、評価時には学習中に記録した値を使ってください（track_running_stats=True）",
    ),
    "nn.BatchNorm1d(dim)   # not track_running_stats=False",
)
BY_PLACE = Fault(
    "scores-by-place-in-the-batch",
    "M22",
    "batch-independence",
    "error",
    Text(
        "Each place in the batch has numbers of its own: the same image gets other scores at another place, and "
        "places that seldom occur learn little.",
        "バッチ内の位置ごとに別のパラメータが使われるため、同じ画像でも位置が変わるとスコアが変わり、めったに使われない位置はほとんど学習されません。",
    ),
    Text(
        "give the parameter one row for all images and expand it; cut positions along the tokens",
        "パラメータは全画像で共有する1行だけにしてexpandし、位置埋め込みはトークンの軸で切り出してください",
    ),
    "self.cls = nn.Parameter(torch.zeros(1, 1, dim))\ncls = self.cls.expand(x.shape[0], -1, -1)",
)
BY_COUNT = Fault(
    "scores-by-batch-size",
    "M1",
    "batch-independence",
    "error",
    Text(
        "The same image gets other scores in a batch of another size: what was measured in training does not hold for "
        "the last batch or for one image.",
        "同じ画像でもバッチサイズが変わるとスコアが変わります。学習時の測定値が、最後のバッチや1枚だけの推論には当てはまりません。",
    ),
    Text(
        "let nothing in the forward be divided or scaled by the number of images",
        "順伝播の中で、画像の枚数による除算やスケーリングをしないでください",
    ),
)


_NOWHERE = Text(
    "look for an axis that is taken for another (a view without a transpose, dim=0, a mean over the batch)",
    "軸の取り違え（transposeのないview、dim=0の指定、バッチ方向の平均）がないか確認してください",
)
_RANDOM = Text(
    "the scores differ from call to call, so the images' places, their order and their number were not compared",
    "スコアが呼び出しごとに変わるため、バッチ内の位置、順番、枚数による違いは比較していません",
)


def batch_independence(patient: Patient) -> Iterator[Finding]:
    """Whether the images of a batch leave one another alone.

    Does: noise in the place of one image, compared at all others; the batch in another order; one image by itself; the same image at every place
    with noise in each parameter that stands by itself. Where two images meet, the axis that attention runs along, and the first operation at
    which one image's change reaches more than its own share of the numbers.
    Finds: attention across the batch (M1), any other meeting of images, parameters with a row for each place (M22).
    Must not accuse: batch norm with running statistics, sequence-first models that are right. What takes statistics on purpose is a warning,
    as long as the scores follow the images where these change places.
    Source: torch.nn.MultiheadAttention, batch_first.
    """
    refuse_not_finite(patient)
    size = patient.batch or (2 if patient.is_large else 4)
    if size < 2:
        raise Skipped(
            Text("the model takes one image at a time", "モデルが一度に受け取る画像は1枚だけです"), is_left_out=True
        )
    images = patient.images[:size]
    influence = _influence(patient, images)
    if influence > 0:
        if not patient.same(patient.quiet_scores(images), patient.quiet_scores(images)):
            raise Skipped(_RANDOM)  # not even under one seed are two forwards alike
        yield _meeting(patient, influence)
    elif _comes_to_run_across(patient):
        yield _across(patient, 0.0)
    if is_random(patient):
        raise Skipped(_RANDOM)
    if influence == 0:
        yield from _by_place(patient, images)


def _influence(patient: Patient, images: Tensor) -> float:
    """How far noise in the place of one image moves the scores of another; 0 where that is rounding."""
    here = patient.quiet_scores(images)
    largest = 0.0
    places = {0, len(images) - 1} if patient.batch or patient.is_large else set(range(len(images)))
    for place in sorted(places):
        other = images.clone()
        other[place] = patient.noise(1, seed=place)[0]
        there = patient.quiet_scores(other)
        rest = [i for i in range(len(images)) if i != place]
        if not patient.same(here[rest], there[rest]):
            largest = max(largest, patient.apart(here[rest], there[rest]))
    return largest


def _comes_to_run_across(patient: Patient) -> bool:
    """Whether an attention along the batch, which changes nothing as yet, does after some steps: its branch starts at zero."""
    if not attentions_along_the_batch(patient) or patient.is_trained:
        return False
    trained = patient.trained
    return _influence(trained, trained.images[: 2 if patient.is_large else 4]) > 0


def _meeting(patient: Patient, influence: float) -> Finding:
    if attentions_along_the_batch(patient):
        return _across(patient, influence)
    if compete(patient, patient.batch or (2 if patient.is_large else 4), influence):
        return competing(influence)
    where, is_statistic = (None, False) if patient.is_large else where_they_meet(patient)
    one = None if where is None else taken(patient.tape, where, patient.batch or TRIED)
    if one is not None and one.place is not None and _reads_only(patient, one.place):
        return one_image_read(one, influence)
    path, operation = (where.path or "the model", where.name) if where is not None else ("", "")
    en = f" They meet in {path} ({operation})." if where is not None else ""
    ja = f"画像どうしが混ざる箇所は{where.path or 'モデル本体'}（{operation}）です。" if where is not None else ""
    stays = _stays_when_images_move(patient)
    if stays:
        en += " With the images in another order each place gets the scores that it had: they are of no image."
        ja += (
            "画像の順番を入れ替えても、各位置のスコアは元のままです。つまり、特定の画像に対するスコアになっていません。"
        )
    is_slight = where is None and not patient.is_large and influence < SLIGHT
    fault = STATISTICS if (is_statistic or is_slight) and not stays else MEET
    if fault is MEET and where is None:
        fault = replace(MEET, advice=_NOWHERE)
    return fault.found(
        Text(
            f"Noise in the place of one image changes the scores of another in the same batch by {influence:.2g} of their size.{en}",
            f"1枚の画像をノイズに置き換えると、同じバッチの別の画像のスコアが変わります（相対的な差{influence:.2g}）。{ja}",
        ),
        {"influence": influence, "module": path, "operation": operation, "scores_follow_images": not stays},
    )


def _reads_only(patient: Patient, place: int) -> bool:
    """Whether the scores of all images hang on the one at some place alone."""
    images = patient.images[: patient.batch or TRIED]
    others = patient.noise(len(images), seed=4)
    others[place] = images[place]
    return patient.same(patient.quiet_scores(images), patient.quiet_scores(others))


def _stays_when_images_move(patient: Patient) -> bool:
    """Whether the scores, which depend on the images, do not move with them: a statistic of the batch, and nothing of the image."""
    images = patient.images[: patient.batch or (2 if patient.is_large else 4)]
    return patient.same(patient.quiet_scores(images), patient.quiet_scores(images.roll(1, 0)))


def _across(patient: Patient, influence: float) -> Finding:
    paths = attentions_along_the_batch(patient)
    named = listed(paths)
    moves = (
        f"changes its scores by {influence:.2g} of their size"
        if influence
        else "changes its scores after some steps of training"
    )
    moves_ja = f"（相対的な差{influence:.2g}）" if influence else "（数ステップ学習した後）"
    return told_batch_first(patient, paths[0], ACROSS).found(
        Text(
            f"Attention runs along the batch ({named}): an image attends to the other images, and noise in the place of one of them {moves}.",
            f"アテンションがバッチ方向に計算されています（{named}）。画像がほかの画像を参照しており、"
            f"1枚をノイズに置き換えると別の画像のスコアが変わります{moves_ja}。",
        ),
        {"influence": influence, "attentions_across_the_batch": list(paths)},
    )


def _by_place(patient: Patient, images: Tensor) -> Iterator[Finding]:
    """Whether the place in the batch counts, and if not, whether the size does."""
    slots = slot_parameters(patient)
    order = [*range(1, len(images)), 0]
    here, turned = patient.quiet_scores(images), patient.quiet_scores(images[order])
    moved = 0.0 if patient.same(here[order], turned) else patient.apart(here[order], turned)
    cut = cut_along_the_batch(patient, slots, moved)
    if cut is not None:
        yield cut
    elif slots or moved:
        named = ", ".join(slots[:3])
        en = f"The same image gets other scores at another place in the batch (off by {moved:.2g} of their size)."
        ja = f"同じ画像でも、バッチ内の位置が変わるとスコアが変わります（相対的な差{moved:.2g}）。"
        if not moved:
            en = "The place in the batch comes to count: a parameter has numbers for each, which are alike as yet."
            ja = "学習が進むと、バッチ内の位置によってスコアが変わるようになります（位置ごとのパラメータは、今のところ同じ値です）。"
        if named:
            en, ja = f"{en} {named} has a row for each place.", f"{ja}{named}が位置ごとに別の行を持っています。"
        yield BY_PLACE.found(Text(en, ja), {"change_of_scores": moved, "per_place": list(slots)})
    elif patient.batch is None and not patient.is_large:
        alone = patient.quiet_scores(images[:1])
        change = 0.0 if patient.same(here[:1], alone) else patient.apart(here[:1], alone)
        if (counted := row_by_count(patient, images, change)) is not None:
            yield counted
        elif change:
            yield BY_COUNT.found(
                Text(
                    f"An image by itself gets other scores than in a batch of {len(images)} (off by {change:.2g} of their size).",
                    f"1枚だけで入力したときと{len(images)}枚のバッチに入れたときで、同じ画像のスコアが異なります（相対的な差{change:.2g}）。",
                ),
                {"change_of_scores": change, "batch_size": len(images)},
            )
