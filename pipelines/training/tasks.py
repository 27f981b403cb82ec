"""What a recipe comes to on its data: the rows, and the objective at work."""

import itertools
from collections.abc import Callable
from dataclasses import replace

from pipelines import objectives, recipes
from pipelines.data.pairs import read_pairs
from pipelines.data.records import data_flag
from pipelines.data.source_target_rows import SourceTargetRows, example_of
from pipelines.generation.writer import end_of
from pipelines.objectives.causal_lm import CausalLM
from pipelines.objectives.labelled import Classification, Regression
from pipelines.objectives.source_to_target import SourceToTarget
from pipelines.progress import say
from pipelines.recipes import PairData, Recipe, TableData, TextData
from pipelines.runs import Run
from pipelines.tokenization.tokenizer import Tokenizer
from pipelines.training.embedded import embedded_pairs
from pipelines.training.image_tasks import image_task
from pipelines.training.labels import labelled_rows, read_labelled, resolve_labels
from pipelines.training.task import Start, Task
from pipelines.training.text_tasks import no_draws, work_on
from pipelines.training.texts import keep_vocabulary, prepare_text, prepare_vocabulary
from tfattn.errors import InputError
from tfattn.families.gpt2 import HEAD as CAUSAL_HEAD
from tfattn.models.config import Head, Tokens, TransformerConfig
from tfattn.models.model_config import ModelConfig, changed, position_limit
from tfattn.models.vision_config import VisionConfig

# What is learnt by models of a source and a target alone, and by both kinds.
OF_PAIRS = (recipes.SpanCorruption, recipes.TextInfilling, recipes.PrefixLM, recipes.Translation)
OF_BOTH = (recipes.TextToText,)
OF_IMAGES = (recipes.ImageClassification, recipes.MaskedImages)


def prepare(run: Run, recipe: Recipe, start: Start | None) -> Task:
    """Read the data of a recipe.

    Raises:
        InputError: data that cannot be used, or a model that does not fit it.
    """
    config = start.config if start is not None else recipe.model
    if config is None:
        raise InputError("model: expected a preset, or --init. Received neither.")
    kind, pair = type(recipe.objective), not isinstance(config, TransformerConfig)
    if isinstance(config, VisionConfig) != issubclass(kind, OF_IMAGES):
        kinds = ("text", "images")
        wanted = issubclass(kind, OF_IMAGES)
        where = "model" if recipe.init is None else f"init: {recipe.init}"
        raise InputError(
            f"{where}: expected a model of {kinds[wanted]} for {kind.__name__}. "
            f"Received: one of {kinds[not wanted]}."
        )
    if isinstance(config, VisionConfig):
        return image_task(recipe, config, start)
    if pair != (kind in OF_PAIRS) and kind not in OF_BOTH:
        kinds = ("a single stack, such as a BERT or a GPT", "an encoder and a decoder, such as T5")
        raise InputError(
            f"objective: expected {kinds[not pair]} for {kind.__name__}. Received: {kinds[pair]}."
        )
    _check_length(getattr(recipe.data, "length", None), config)
    return PREPARE[type(recipe.data)](run, recipe, recipe.data, config, start)


def _text(run, recipe, data, config, start):
    _refuse_tokenizer(data, start)
    tokenizer, *stores = prepare_text(run, data, start.tokenizer if start else None)
    head = start.head if start else recipe.head
    with data_flag("files"):
        _, train, draws = work_on(stores[0], recipe, tokenizer, head)
    with data_flag("validation"):
        objective, validation, others = work_on(stores[1], recipe, tokenizer, head)
    config = _sized(config, tokenizer, start)
    return Task(config, tokenizer, recipe.objective, objective, train, validation, draws, others)


def _table(run, recipe, data, config, start):
    if start is None:
        raise InputError(
            "init: expected a run or a checkpoint that brings a vocabulary. Received none."
        )
    tokenizer = start.tokenizer
    keep_vocabulary(run, tokenizer)
    length = data.length or config.max_length
    causal = config.is_causal()
    if isinstance(recipe.objective, recipes.TextToText) and not causal:
        raise InputError(
            "init: expected a causal model, or an encoder with a decoder, for it is to write text. "
            "Received a model in which tokens see what follows them."
        )
    prefixes = getattr(recipe.objective, "prefix", ())
    train = read_labelled(data, data.train, "train", prefixes)
    validation = read_labelled(data, recipes.held_out(data), "validation", prefixes)
    spec = resolve_labels(recipe.objective, train, "last" if causal else "mean")
    objective = work(spec, start.config, start.heads, tokenizer, recipe.train.seed)
    pair = not isinstance(config, TransformerConfig)
    rows, others = (
        labelled_rows(table, spec, tokenizer, length, pair) for table in (train, validation)
    )
    return Task(config, tokenizer, spec, objective, rows, others, no_draws, no_draws)


def _pairs(run, recipe, data, config, start):
    _refuse_tokenizer(data, start)
    splits = {}
    for split, files in (("train", data.train), ("validation", recipes.held_out(data))):
        if not files:
            raise InputError(f"data.{split}: expected at least one file or glob. Received none.")
        splits[split] = pair_texts(data, files, split)

    def texts():
        return itertools.chain(splits["train"].sources, splits["train"].targets)

    given = start.tokenizer if start else None
    tokenizer = prepare_vocabulary(run, data, texts, given)
    head = start.head if start else recipe.head
    spec, heads = recipe.objective, () if head is None else (head,)
    objective = work(spec, config, heads, tokenizer, recipe.train.seed)
    with data_flag("train"):
        train = pair_rows(splits["train"], tokenizer, data, data.too_long)
    with data_flag("validation"):  # of which all pairs count
        validation = pair_rows(splits["validation"], tokenizer, data, "cut")
    for split, rows, done in (
        ("train", train, {"drop": "left out", "cut": "cut"}.get(data.too_long)),
        ("validation", validation, "cut"),
    ):
        more = ""
        if rows.too_long:
            more = f"; {rows.too_long:,} longer than {data.length} tokens a side, {done}"
        say(f"{split}: {len(rows):,} pairs{more}")
    config = _sized(config, tokenizer, start)
    return Task(config, tokenizer, spec, objective, train, validation, no_draws, no_draws)


def pair_texts(data: PairData, files: tuple[str, ...], flag: str):
    """Read pairs as the recipe says; `flag` is named where files cannot be used."""
    source, target = data.source, data.target
    if recipes.is_embedded(files):
        path, source, target = embedded_pairs(files[0], flag)
        files = (str(path),)
    with data_flag(flag):
        return read_pairs(files, source=source, target=target, encoding_errors=data.encoding_errors)


def pair_rows(pairs, tokenizer: Tokenizer, data: PairData, too_long) -> SourceTargetRows:
    """Return the rows of pairs, of which longer ones are dealt with as `too_long` says."""
    end, places = end_of(tokenizer), pairs.places
    sides = (pairs.sources, pairs.targets)
    return SourceTargetRows(tokenizer, *sides, end, data.length, too_long, places)


def work(
    spec: recipes.Objective,
    config: ModelConfig,
    heads: tuple[Head, ...],
    tokenizer: Tokenizer,
    seed: int,
) -> objectives.Objective:
    """Return the objective of labelled texts or of pairs that `spec` describes.

    Args:
        spec: of the recipe, with what the labels said.
        config: of the model that it starts from, or that it is.
        heads: of that model.
        tokenizer: of that model.
        seed: of the recipe.
    """
    head = next((head for head in heads if isinstance(head, Tokens)), CAUSAL_HEAD)
    if isinstance(spec, recipes.TextToText | recipes.Translation):
        head = replace(head, smoothing=spec.smoothing)
        if not isinstance(config, TransformerConfig):
            return SourceToTarget(head, tokenizer, example_of)
        return CausalLM(recipes.CausalLM(), head, seed=seed)
    kinds = {recipes.Classification: Classification, recipes.Regression: Regression}
    return kinds[type(spec)](spec)


def _sized(config, tokenizer, start):
    """Return the config of a new model with room for this vocabulary."""
    if start is not None:
        return config
    return changed(config, vocab_size=tokenizer.size, pad_id=tokenizer.pad_id)


def _refuse_tokenizer(data, start):
    if start is not None and data.tokenizer is not None:
        raise InputError(
            "data.tokenizer: expected none beside init, whose model has its own. "
            f"Received: {data.tokenizer}."
        )


def _check_length(length, config):
    limit = position_limit(config)
    if length is not None and limit is not None and length > limit:
        raise InputError(
            f"data.length: expected at most the {limit} positions of the model. Received: {length}."
        )


PREPARE: dict[type[recipes.Data], Callable[..., Task]] = {
    TextData: _text,
    TableData: _table,
    PairData: _pairs,
}
