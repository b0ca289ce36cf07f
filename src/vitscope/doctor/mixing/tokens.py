"""Whether tokens meet: all patches, both ways, and each head the same tokens. In goes a patient, out come findings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import torch
from jaxtyping import Bool
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.mixing.alone import alone, blocks_alone
from vitscope.doctor.mixing.apart import NEVER_MEET, apart, apart_unproved
from vitscope.doctor.mixing.between import Between, between_heads, told
from vitscope.doctor.mixing.centred import normed_over_tokens
from vitscope.doctor.mixing.cut import cut_in_linear, cut_told, evidence_of, names_of
from vitscope.doctor.mixing.elsewhere import NEVER, UNKNOWN, meeting_elsewhere
from vitscope.doctor.mixing.experiments import Tokens, leaving
from vitscope.doctor.mixing.heads import Across, cut_across_tokens, put_across_tokens
from vitscope.doctor.mixing.masks import allowed, is_triangular, unmasked
from vitscope.doctor.mixing.meeting import earlier_hear_later, mixes_behind, way_in, ways_in_and_out
from vitscope.doctor.mixing.scrambles import keeps_channels
from vitscope.doctor.mixing.torn import MERGED, torn_tokens
from vitscope.doctor.mixing.unproven import anatomy_as_far_as_followed
from vitscope.doctor.naming import listed, part_of
from vitscope.doctor.patient import Patient, not_followed
from vitscope.lens.blocks import Block

CAUSAL = Fault(
    "causal-mask",
    "M3",
    "token-mixing",
    "error",
    Text(
        "A causal mask belongs to models that write text: each token sees only those before it. In an image, such an attention gives the patches at "
        "the top left the values of none of the rest, and a class token in front those of no patch at all.",
        "因果マスクは文章を生成するモデルのもので、各トークンは自分より前のトークンしか参照できません。画像に使うと、このアテンションでは左上のパッチに"
        "残りのパッチの値が一切渡らず、先頭のクラストークンにはどのパッチの値も渡りません。",
    ),
    Text(
        "take the mask out of the encoder (is_causal=False, no tril); only a model that is meant to generate images patch by patch keeps it",
        "エンコーダからマスクを取り除いてください（is_causal=False、trilを使わない）。残してよいのは、パッチを順に生成することを意図したモデルだけです",
    ),
    "F.scaled_dot_product_attention(q, k, v)   # no mask, is_causal=False",
    explains=("position", "overfit", "image-never-reaches-the-scores"),
)


def token_mixing(patient: Patient) -> Iterator[Finding]:
    """Whether tokens meet as they should.

    Does: changes one token that a block takes and compares, between heads, which rows of queries, keys and values change; changes one place of
    one head's output and looks which token changes. Plays the scores as zeros to see what masks forbid. Where no attention is open to all tokens,
    changes patches at the first block's door, and follows what changes at the last one's, and the gradient back.
    Finds: heads cut or put together across tokens, attention between heads (M6), causal masks, patches that no block lets meet (M3).
    Must not accuse: windows that shift or merge, neighbourhoods, masks that hide nothing, relative positions, rotary ones, convolutions between
    tokens, attention across channels, heads that have collapsed (their zeros are no mask's), branches that start at zero.
    Source: Dosovitskiy et al. 2021, 3.1; torch's scaled_dot_product_attention on masks.
    """
    try:
        blocks = patient.anatomy.blocks
    except Skipped:
        found, is_all = _as_far_as_followed(patient)
        yield from found
        if found or is_all:
            return
        raise
    try:
        between = {
            number: found for number, found in enumerate(between_heads(patient.tape, b) for b in blocks) if found
        }
        across = list(_heads_across(patient, tuple(b for number, b in enumerate(blocks) if number not in between)))
        yield from across
        if not across:
            yield from _met(patient, blocks, between)
        yield from normed_over_tokens(patient, blocks)
    except LensError as error:
        raise Skipped(not_followed(error)) from None


def _met(patient: Patient, blocks: tuple[Block, ...], between: dict[int, Between]) -> Iterator[Finding]:
    """What keeps tokens apart, in all blocks together or in single ones."""
    pairs = [
        torch.eye(between[number].tokens, dtype=torch.bool)[None]
        if number in between
        else allowed(patient.tape, block.attention)
        for number, block in enumerate(blocks)
    ]
    met = list(_meeting(patient, blocks, pairs))
    never_met = next((finding for finding in met if finding.fault is NEVER_MEET), None)
    lonely = alone(patient, blocks, pairs) if between or not met else []
    heads = list(between.values())
    if never_met is None and not any(each.is_torn or number in lonely for number, each in between.items()):
        heads = []
    if heads:
        meeting = meeting_elsewhere(patient, blocks) if len(heads) == len(blocks) else UNKNOWN
        is_alone = never_met is not None and meeting in (NEVER, UNKNOWN)
        yield told(heads, len(blocks), never_met.severity if never_met and is_alone else "warning", meeting)
    yield from (each for each in met if each is not never_met or len(heads) < len(blocks))
    if not met:
        yield from blocks_alone(patient, blocks, pairs, [number for number in lonely if number not in between])


def _as_far_as_followed(patient: Patient) -> tuple[list[Finding], bool]:
    """What heads do across tokens, and whether tokens meet, where no map of attention was proved; and whether that is all there is to examine."""
    with suppress(LensError, Skipped, RuntimeError):
        cut = [each for found in patient.loose.attentions for each in [cut_in_linear(patient.tape, found)] if each]
        if cut:
            return [cut_told(cut)], True
    with suppress(LensError, Skipped, RuntimeError):
        blocks, loose = anatomy_as_far_as_followed(patient).blocks, patient.loose
        heads = [found for found in (between_heads(patient.tape, block) for block in blocks) if found]
        if heads and len(heads) == len(blocks):
            return list(_unproved(patient, blocks, heads)), True
        across = list(_heads_across(patient, blocks))
        pairs = [] if across else [allowed(patient.tape, block.attention) for block in blocks]
        return across or list(_meeting(loose, blocks, pairs)) or list(apart_unproved(patient)), True
    with suppress(LensError, Skipped, RuntimeError):
        return list(apart_unproved(patient)), False
    return [], False


def _unproved(patient: Patient, blocks: tuple[Block, ...], heads: list[Between]) -> Iterator[Finding]:
    """Attention between heads that was not proved, in all blocks, where no tokens meet in one of them or their results are torn."""
    end = leaving(patient.tape, blocks[-1])
    pairs = [torch.eye(each.tokens, dtype=torch.bool)[None] for each in heads]
    lonely = alone(patient, blocks, pairs)
    is_apart = any(apart_unproved(patient)) or len(lonely) == len(blocks)
    if is_apart or lonely or any(each.is_torn for each in heads):
        meeting = meeting_elsewhere(patient.loose, blocks)
        is_open = end is None or mixes_behind(patient.tape, end) or not is_apart or meeting not in (NEVER, UNKNOWN)
        yield told(heads, len(blocks), "warning" if is_open else "error", meeting)


def _heads_across(patient: Patient, blocks: tuple[Block, ...]) -> Iterator[Finding]:
    chosen = blocks
    if patient.is_large and len(blocks) > 3:
        chosen = (blocks[0], blocks[len(blocks) // 2], blocks[-1])
    cut = [
        found
        for block in chosen
        for found in [cut_across_tokens(patient.tape, block, seeds=_seeds(patient))]
        if found and not keeps_channels(patient.tape, block)
    ]
    put = [found for block in chosen for found in [put_across_tokens(patient.tape, block)] if found]
    if cut:
        yield cut_told(cut, is_merged_wrong=bool(put))
    if put:
        first, other = _two_places(put[0])
        yield MERGED.found(
            Text(
                f"What two heads give for the same token goes to different ones: place {put[0].token} of one head to token {first}, of another to "
                f"token {other} ({names_of(put)}).",
                f"2つのヘッドが同じトークンについて出した結果が、別々のトークンに渡されています。位置{put[0].token}の結果は、一方のヘッドではトークン{first}に、"
                f"もう一方ではトークン{other}に入ります（{names_of(put)}）。",
            ),
            evidence_of(put),
        )
    seen = {each.path for each in (*cut, *put)}
    yield from torn_tokens(patient.tape, [block for block in chosen if block.attention.path not in seen])


def _seeds(patient: Patient) -> int:
    return 1 if patient.is_large else 2


def _two_places(found: Across) -> tuple[int, int]:
    places = [each for each in found.places if each]
    other = next((each for each in places if each != places[0]), places[-1])
    return places[0][0], other[0]


def _meeting(patient: Patient, blocks: tuple[Block, ...], pairs: list[Tensor]) -> Iterator[Finding]:
    triangular = {number: side for number, each in enumerate(pairs) for side in [is_triangular(each)] if side}
    first = way_in(patient)
    count = len(first.of(patient.tape.value(first.call)))
    if not triangular and any(_is_open(each, count) for each in pairs):
        return
    ways = ways_in_and_out(patient)
    if ways is None:
        raise Skipped(
            Text(
                "where the tokens leave the last block was not found",
                "最後のブロックからトークンが出る場所が見つかりませんでした",
            )
        )
    start, end = ways
    extra = _extra(patient, count)
    if triangular:
        yield _causal(patient, blocks, triangular, start, end, extra)
    if count - len(extra) < 2 or any(_is_open(each, count) for each in pairs) or len(triangular) == len(blocks):
        return
    yield from apart(patient, blocks, pairs, start, end, extra)


def _extra(patient: Patient, count: int) -> tuple[int, ...]:
    """The tokens that are no patches, as far as they are known."""
    try:
        layout = patient.layout
    except Skipped:
        return ()
    return layout.extra if len(layout.patch_of_token) == count and len(layout.extra) < count else ()


def _is_open(pairs: Bool[Tensor, "K Tq T"], tokens: int) -> bool:
    """Whether every token may attend to every other, in some head."""
    any_head = pairs.any(dim=0)
    if any_head.shape != (tokens, tokens):
        return False
    any_head.fill_diagonal_(True)  # whether a token attends to itself is all the same
    return bool(any_head.all())


def _causal(
    patient: Patient,
    blocks: tuple[Block, ...],
    triangular: dict[int, str],
    start: Tokens,
    end: Tokens,
    extra: tuple[int, ...],
) -> Finding:
    """The finding: an error where no block lets the one half of the patches hear of the other."""
    is_everywhere = len(triangular) == len(blocks) and len(set(triangular.values())) == 1
    first_hears, second_hears = True, True
    if is_everywhere and len(start.of(patient.tape.value(start.call))) == len(end.of(patient.tape.value(end.call))):
        first_hears, second_hears = earlier_hear_later(patient.tape, start, end, extra)
    is_one_way = is_everywhere and not (first_hears and second_hears)
    where = listed([blocks[number].attention.path or "the model" for number in triangular])
    en, ja = ("before", "前") if "later" in triangular.values() else ("behind", "後ろ")
    if is_one_way:
        rest = Text(
            "In all blocks together, the one half of the patches never hears of the other.",
            "全ブロックを通しても、半分のパッチは残り半分の情報をまったく受け取りません。",
        )
    elif len(triangular) < len(blocks):
        rest = Text("Other blocks have none.", "ほかのブロックにはこのマスクはありません。")
    elif len(set(triangular.values())) > 1:
        rest = Text(
            "Some blocks have it the other way round, so that each half of the patches hears something of the other.",
            "向きが逆のマスクを持つブロックもあるため、パッチの前半と後半は互いの情報をいくらか受け取ります。",
        )
    else:
        rest = _heard_even_so([blocks[number].attention.map for number in triangular])
    path = blocks[next(iter(triangular))].attention.path
    return unmasked(CAUSAL, patient.model, path).found(
        Text(
            f"Each token sees only those {en} it: a triangular mask in {part_of(len(triangular), len(blocks), 'block')} ({where}). {rest.en}",
            f"各トークンが、自分より{ja}のトークンしか参照できません。{len(blocks)}個のブロックのうち{len(triangular)}個に三角形のマスクがあります"
            f"（{where}）。{rest.ja}",
        ),
        {
            "blocks_with_a_triangular_mask": len(triangular),
            "blocks": len(blocks),
            "modules": [blocks[number].attention.path for number in triangular],
            "first_half_hears_of_the_second": first_hears,
            "second_half_hears_of_the_first": second_hears,
        },
        severity="error" if is_one_way else "warning",
    )


def _heard_even_so(maps: list[Tensor]) -> Text:
    """By which way halves of the patches hear of each other behind triangular masks."""
    sums = torch.cat([each.detach().sum(dim=-1).flatten() for each in maps])
    least, most = float(sums.min()), float(sums.max())
    if least < 0.99 and abs(most - 1) < 1e-3:
        return Text(
            f"It stands behind the softmax, which has given the tokens that it hides their shares: the weights of a row sum to {least:.2g} to "
            f"{most:.2g}. By these sums each half of the patches hears something of the other.",
            f"マスクがsoftmaxの後にあり、隠されるトークンにもすでに重みが配分されているため、1行の重みの合計は{least:.2g}から{most:.2g}です。パッチの前半と"
            "後半は、この合計を通して互いの影響をいくらか受けます。",
        )
    return Text(
        "By other ways than attention, each half of the patches hears something of the other.",
        "パッチの前半と後半は、アテンション以外の経路で、互いの情報をいくらか受け取ります。",
    )
