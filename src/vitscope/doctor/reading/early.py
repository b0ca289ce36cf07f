"""A head that reads the class token as it was before the blocks. In goes a patient whose scores do not depend on the picture, out comes at most one
finding."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient, scores_of
from vitscope.doctor.reading.lost import CONSEQUENCES, OF_THE_BLOCKS, WHY, takes_a_part
from vitscope.doctor.reading.placed import made_of
from vitscope.lens.flow import ancestors
from vitscope.lens.tape import Call, Source

EARLY = Fault(
    "class-token-read-before-the-blocks",
    "M2",
    "input-blindness",
    "error",
    WHY,
    Text(
        "read the class token out of what the last block gives: it is the first of those tokens, not the parameter that was joined to the patches",
        "クラストークンは、最後のブロックの出力から読み出してください。パッチに連結したパラメータそのものではなく、出力の先頭のトークンです",
    ),
    "return self.head(self.norm(x)[:, 0])   # x: what the last block gives",
    explains=(*CONSEQUENCES, *OF_THE_BLOCKS, "attention", "work-thrown-away", "unused-parameters"),
)


def read_before_the_blocks(patient: Patient, lost: Call | None, evidence: dict[str, object]) -> Finding | None:
    """The finding, where the scores are made of what was joined to the patches and of no attention; `lost` is where the picture is lost, if it was
    on the way."""
    tape = patient.tape
    read = lost or tape.maker(scores_of(patient._known["answer"], patient.batch or 1, patient.classes))
    if read is None or not _passes_all_blocks_by(patient, read) or not (lost is None or takes_a_part(lost)):
        return None
    joined = _joined(patient)
    tokens = [joined[each] for each in made_of(Source(read.outputs[0], read, 0, read.written)) if each in joined]
    if not tokens:
        return None
    named = listed(tokens)
    return EARLY.found(
        Text(
            f"The scores do not depend on the picture: the head reads the class token ({named}) from before the blocks. No attention is on the way "
            "from it to the scores.",
            f"スコアが画像に依存していません。ヘッドが、ブロックに入る前のクラストークン（{named}）を読み出しています。そこからスコアまでの間に"
            "アテンションが1つもありません。",
        ),
        {**evidence, "parameters": tokens},
    )


def _passes_all_blocks_by(patient: Patient, read: Call) -> bool:
    """Whether no attention is on the way to a call, though there are some, each of which takes what the one before it gave."""
    with suppress(Skipped, LensError):
        found, before = patient.loose.attentions, ancestors(read)
        chained = all(a.ends.number in ancestors(b.begins) for a, b in pairwise(found))
        return len(found) > 1 and chained and not any(each.ends.number in before for each in found)
    return False


def _joined(patient: Patient) -> dict[int, str]:
    """What the model holds and joins to numbers of the image, by its `id`."""
    tape, model = patient.tape, patient.model
    names = {id(each): name for name, each in (*model.named_parameters(), *model.named_buffers())}
    joins = [call for call in tape.calls if call.name == "cat" and any(map(tape.is_of_image, call.sources))]
    held = {each for call in joins for s in call.sources if not tape.is_of_image(s) for each in made_of(s)}
    return {each: names[each] for each in held if each in names}
