"""What `vitscope.compare` is given: modules, what makes them, and names in, two entrants that take the same images out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from vitscope._core.errors import ModelError, UsageError
from vitscope._core.raised import CodeError, raised
from vitscope._core.suggest import a_
from vitscope._core.text import Text
from vitscope.doctor.copying import copy_of
from vitscope.race.entrants import Entrant, Make, of_its_starts
from vitscope.race.images import Images, refuse_other_images, said
from vitscope.race.names import names_of
from vitscope.race.renewing import renewing
from vitscope.race.targets import Pair, entrant_of
from vitscope.recipes.naming import kind_of
from vitscope.recipes.subject import open_subject

Given = str | nn.Module | Callable[[], nn.Module] | Entrant
"""A built-in name, a YAML file or a run folder; a module; what makes one when it is called; or that with a name."""
Size = tuple[int, int]


@dataclass(frozen=True)
class _Side:
    """One of the two: the images that it takes, as far as it knows them itself."""

    entrant: Entrant
    notes: tuple[Text, ...] = ()
    images: Images | None = None


def pair_of(
    a: Given, b: Given, *, names: tuple[str, str] | None, image_size: Size | None, channels: int | None, has_race: bool
) -> Pair:
    """Both, ready to be examined and raced.

    Args:
        a, b: what was given.
        names: what they are called; left out, their own names, or A and B.
        image_size: height and width of their images; of no need where one knows its own.
        channels: of these.
        has_race: whether there is one: the weights that each seed starts from matter then.

    Raises:
        VitscopeError: one of them cannot be opened, or they take other images, in one sentence.
    """
    called = _called(a, "A"), _called(b, "B")
    if names is not None:
        if len(names) != 2 or not all(isinstance(name, str) and name for name in names):
            raise UsageError(f"names are {names!r}, expected one word for each of the two models")
        called = names
    called = names_of(called, called, (None, None))
    one, other = (_side(given, name, has_race=has_race) for given, name in zip((a, b), called, strict=True))
    known = [(side.entrant.name, side.images) for side in (one, other) if side.images is not None]
    size = image_size or (known[0][1][0] if known else None)
    if size is None:
        raise UsageError(
            "image_size is missing, expected the side of the models' images in pixels, such as image_size=32"
        )
    images = size, channels or (known[0][1][1] if known else 3)
    for name, own in known:
        if own != images and (image_size, channels) != (None, None):
            raise UsageError(
                f"{name} takes images of {said(own).en}, not of {said(images).en}; leave image_size and channels out"
            )
    if len(known) == 2:
        refuse_other_images(called, known[0][1], known[1][1])
    return Pair(one.entrant, other.entrant, *images, (None, None), (*one.notes, *other.notes))


def _called(given: Given, letter: str) -> str:
    """A name; its letter where it has none to be recognised by."""
    if isinstance(given, Entrant):
        return given.name
    name = given if isinstance(given, str) else getattr(given, "__name__", "")
    return name if isinstance(given, str) or (isinstance(name, str) and name.isidentifier()) else letter


def _side(given: object, name: str, *, has_race: bool) -> _Side:
    if isinstance(given, Entrant):
        return _Side(Entrant(name, given.make, given.starts))
    if isinstance(given, str):
        return _named(given, name)
    if isinstance(given, nn.Module):
        return _finished(given, name, has_race=has_race)
    if not callable(given):
        kind = a_(type(given).__name__)
        raise ModelError(f"compare takes an nn.Module, what makes one when it is called, or a name, got {kind}")
    make = _making(given, name)
    starts, note = of_its_starts(name, make)
    return _Side(Entrant(name, make, starts), (note,) if note is not None and has_race else ())


def _named(target: str, name: str) -> _Side:
    """What a name, a file or a run folder stands for."""
    if kind_of(target) == "code":
        raise UsageError(f"{target} is code, which vitscope.compare does not import; give the class or function itself")
    subject = open_subject(target)
    entrant, note = entrant_of(target, name, subject, None)
    images = subject.preprocessing.image_size, subject.preprocessing.channels
    return _Side(entrant, () if note is None else (note,), images)


def _finished(module: nn.Module, name: str, *, has_race: bool) -> _Side:
    """A module as it is: a copy of it for each seed, with fresh start values where it has such still and they can be drawn again."""
    twin, hooks = copy_of(module)
    for each, its in zip(twin.modules(), module.modules(), strict=False):
        each.training = its.training
    notes = []
    if hooks:
        many = {"s": "s", "were": "were", "them": "them"} if hooks > 1 else {"s": "", "were": "was", "them": "it"}
        notes.append(_HOOKS.format(count=hooks, model=name, **many))
    anew = renewing(twin)
    if has_race:
        notes.append((_AS_IT_IS if anew is None else _ANEW).format(model=name))
    if anew is not None:
        return _Side(Entrant(name, anew), tuple(notes))
    return _Side(Entrant(name, lambda: copy.deepcopy(twin), "same"), tuple(notes))


def _making(factory: Callable[..., object], name: str) -> Make:
    """What calls it, and says in one sentence what is wrong with it."""

    def make() -> nn.Module:
        try:
            model = factory()
            if isinstance(model, nn.Module):
                return model.cpu()
        except (Exception, SystemExit) as error:
            told = raised(error).did
            raise CodeError(Text(f"{name} {told.en}; {_CALLED.en}", f"{name}が{told.ja}。{_CALLED.ja}")) from error
        kind = "None" if model is None else a_(type(model).__name__)
        raise CodeError(
            Text(f"{name} gave {kind}; {_CALLED.en}", f"{name}が返したのは{type(model).__name__}です。{_CALLED.ja}")
        )

    return make


_CALLED = Text(
    "give what makes an nn.Module when it is called without arguments",
    "引数なしで呼び出すとnn.Moduleを返すものを渡してください",
)
_AS_IT_IS = Text(
    "{model} is a finished module: each seed starts from the weights that it has; give what makes it (its class, a function) for fresh ones.",
    "{model}は作成済みのモジュールです。どのシードでも、現在の重みから学習を始めます。シードごとに新しい重みから始めるには、モデルを作るもの"
    "（クラスや関数）を渡してください。",
)
_ANEW = Text(
    "{model} is a finished module with start values still: each seed starts from others, which its layers draw anew.",
    "{model}は作成済みのモジュールですが、重みは初期値のままです。シードごとに、各層の初期化をやり直した重みから学習を始めます。",
)
_HOOKS = Text(
    "{count} hook{s} of functions, registered on {model}, {were} left out; neither the examination nor the race runs {them}.",
    "{model}に関数として登録されたフック{count}個は取り除いてあり、検査でも競争でも実行されません。",
)
