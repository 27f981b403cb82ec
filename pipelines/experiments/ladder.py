"""A ladder of sizes as data: which models are trained, for how long, under which seeds.

Nothing here imports Keras or TensorFlow.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from pipelines import domains
from pipelines.core.spec import Recipe
from pipelines.core.train_config import MonitorConfig, TrainConfig
from pipelines.text.presets import PRESETS
from pipelines.text.sources import TextData
from tfattn.errors import InputError
from tfattn.models.config import TransformerConfig
from tfattn.spec import unknown

# Of the width of the preset, where one is given and no widths.
STEPS_OF_WIDTH = (0.25, 0.375, 0.5, 0.75, 1.0)
PICTURE, NUMBERS = "scaling.png", "scaling.json"  # in the folder of the runs
SILENT = MonitorConfig(attention=False, histograms=False, samples=0)


@dataclass(frozen=True)
class Rung:
    """One run of a ladder."""

    size: str  # the preset, with the width where widths were asked for
    share: float  # of the steps
    seed: int
    recipe: Recipe
    name: str  # of its run directory

    @property
    def config(self) -> TransformerConfig:
        """Return the model."""
        return cast(TransformerConfig, self.recipe.model)

    @property
    def length(self) -> int:
        """Return the tokens a row."""
        return cast(TextData, self.recipe.data).length


def sizes(presets: tuple[str, ...], widths: tuple[int, ...]) -> dict[str, Recipe]:
    """Return the recipes of a ladder by size, with the data and steps of each preset.

    The best rate of Adam goes down as models get wider, as 1 / width where all else stays
    (arXiv:2203.03466, table 3); the rates of presets do, and so do those of widths. At one rate for
    all, the exponent of parameters would tell of rates.

    Args:
        presets: one or several.
        widths: of the one preset; none: some up to its own.

    Raises:
        InputError: fewer than two sizes, one of them twice, or models whose losses cannot be
            compared.
    """
    for what, given in (("presets", presets), ("widths", widths)):
        if len(set(given)) < len(given):
            raise InputError(f"{what}: expected different ones. Received: {_listed(given)}.")
    known = domains.presets()
    for name in presets:
        if name not in known:
            raise InputError(f"presets: {unknown('preset', name, known)}")
        model = known[name].model
        if not _is_one_text_stack(model):
            writes = model is not None and model.writes == "target"
            kind = "a source and a target" if writes else "no text"
            raise InputError(
                "presets: expected a single stack, such as a BERT or a GPT. Received: "
                f"{name}, a model of {kind}."
            )
    if len(presets) != 1:
        if widths:
            raise InputError(
                f"widths: expected one preset to have them. Received: {_listed(presets) or 'none'}."
            )
        if not presets:
            raise InputError("presets: expected at least one. Received none.")
        found = {name: PRESETS[name] for name in presets}
        _check_comparable(found)
        return found
    (name,) = presets
    recipe = PRESETS[name]
    own = cast(TransformerConfig, recipe.model)
    widths = widths or tuple(round(own.dim * share) for share in STEPS_OF_WIDTH)
    if len(widths) < 2:
        raise InputError(f"widths: expected at least two. Received: {_listed(widths)}.")
    found = {}
    for width in widths:
        model = at_width(own, width)
        rate = recipe.train.rate * own.dim / width
        found[f"{name}-width{width}"] = replace(
            recipe, model=model, train=replace(recipe.train, rate=rate)
        )
    return found


def at_width(config: TransformerConfig, width: int) -> TransformerConfig:
    """Return a model of another width and the same depth, with heads about as wide as before."""
    if width < 1:
        raise InputError(f"widths: expected at least 1. Received: {width}.")
    unit = 2 if config.position == "rotary" else 1  # which turns pairs of numbers of a head
    if width % unit:
        raise InputError(f"widths: expected even ones for rotary positions. Received: {width}.")
    most = max(1, width * config.heads // config.dim)
    heads = next(h for h in range(most, 0, -1) if width % (h * unit) == 0)
    shared = config.kv_heads and max(1, heads * config.kv_heads // config.heads)
    kv_heads = shared and next(h for h in range(shared, 0, -1) if heads % h == 0)
    hidden = max(1, round(width * config.hidden_dim / config.dim))
    return replace(config, dim=width, heads=heads, kv_heads=kv_heads, hidden_dim=hidden)


def rungs(
    recipes: dict[str, Recipe],
    data: TextData,
    train: TrainConfig,
    shares: tuple[float, ...],
    seeds: int,
) -> list[Rung]:
    """Return every run of a ladder, the largest model and the longest run first.

    A share of the steps has its own schedule to its end: the loss at a quarter of a longer run,
    where the rate is still high, is not that of a quarter of the tokens (arXiv:2203.15556,
    sections 2 and 3.1). The costly ones come first, so that a model too large is refused at once.

    Args:
        recipes: by size; the models, rates and objectives of these are taken.
        data: of all.
        train: of all but the rate; the first seed.
        shares: of the steps, for each of which every size is trained.
        seeds: under each of which every size is trained for every share.

    Raises:
        InputError: shares or seeds that cannot be used.
    """
    if not shares or len(set(shares)) < len(shares) or not all(0 < s <= 1 for s in shares):
        raise InputError(
            "token-shares: expected different shares over 0, up to 1. "
            f"Received: {_listed(shares) or 'none'}."
        )
    if seeds < 1:
        raise InputError(f"seeds: expected at least 1. Received: {seeds}.")
    found = []
    for size, recipe in recipes.items():
        model = cast(TransformerConfig, recipe.model)
        config = replace(model, max_length=data.length, vocab_size=data.vocab_size)
        for share in shares:
            length = _shortened(replace(train, rate=recipe.train.rate), share)
            for seed in range(train.seed, train.seed + seeds):
                own = Recipe(config, recipe.objective, data, replace(length, seed=seed), SILENT)
                name = size + (f"-share{share}" if share != 1 else "")
                name += f"-seed{seed}" if seed != train.seed else ""
                found.append(Rung(size, share, seed, own, name))
    if train.steps is not None:  # those of epochs are known when the data is
        check_steps(found, [rung.recipe.train.steps or 0 for rung in found])
    return sorted(found, key=lambda r: (-r.config.non_embedding_count(), -r.share, r.seed))


def check_steps(rungs: list[Rung], steps: list[int]) -> None:
    """Refuse shares that come to the same steps: the same run would be two points."""
    seen: dict[tuple[str, int, int], Rung] = {}
    for rung, count in zip(rungs, steps, strict=True):
        other = seen.setdefault((rung.size, rung.seed, count), rung)
        if other is not rung:
            raise InputError(
                "token-shares: expected shares that differ in steps. "
                f"Received: {other.share} and {rung.share}, of {count} each."
            )


def corpus_recipe(rung: Rung) -> Recipe:
    """Return the recipe of the vocabulary and token stores that all runs share."""
    return Recipe(None, rung.recipe.objective, rung.recipe.data)


def check_folder(out: Path) -> None:
    """Refuse a folder that is a run of its own, or in which there is no room for the result."""
    if (out / "recipe.json").exists():
        raise InputError(f"{out}: expected a folder for several runs. Received a run directory.")
    for path in (out / PICTURE, out / NUMBERS):
        if path.is_dir():
            raise InputError(f"{path}: expected a file, or nothing yet. Received a folder.")


def _is_one_text_stack(config):
    return config.reads == "tokens" and tuple(config.stacks()) == ("",)


def _shortened(train, share):
    if train.steps is not None:
        return replace(train, steps=max(1, round(train.steps * share)))
    return replace(train, epochs=(train.epochs or 1) * share)


def _check_comparable(found):
    """Refuse what measures losses of different kinds, or over different tokens."""
    first, *others = found
    for name in others:
        one, other = found[first], found[name]
        if one.objective != other.objective:
            kinds = [f"{n} ({type(found[n].objective).__name__})" for n in (first, name)]
            what = "the same objective, for losses to compare"
        elif _tokens(one.data) != _tokens(other.data):
            kinds = [f"{n} ({_tokens(found[n].data)})" for n in (first, name)]
            what = "the same kind of tokens, for losses to compare"
        else:
            continue
        raise InputError(f"presets: expected {what}. Received: {' and '.join(kinds)}.")


def _tokens(data):
    cased = data.algorithm == "wordpiece" and not data.lowercase
    return f"cased {data.algorithm}" if cased else data.algorithm


def _listed(values):
    return ", ".join(map(str, values))
