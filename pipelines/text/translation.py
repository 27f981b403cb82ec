"""Translation: the target of a source, from pairs of texts (arXiv:1706.03762)."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pipelines.core.api import Finished, Prepared, Split, Start
from pipelines.core.progress import say
from pipelines.core.records import data_flag, is_embedded
from pipelines.core.run import Run
from pipelines.core.spec import Options, Recipe, expect
from pipelines.text.aligned import measure_alignment
from pipelines.text.corpora import prepare_vocabulary
from pipelines.text.data.pairs import Pairs, read_pairs
from pipelines.text.data.source_target_rows import SourceTargetRows, TooLong, example_of
from pipelines.text.documents import (
    TextRuntime,
    check_length,
    language_head,
    model_config,
    refuse_tokenizer,
    sized,
    start_tokenizer,
    tokenizer_of,
    with_language_head,
)
from pipelines.text.embedded import embedded_pairs
from pipelines.text.generation.writer import end_of
from pipelines.text.options import TargetOptions
from pipelines.text.seq2seq import Seq2SeqObjective
from pipelines.text.seq2seq_module import Seq2SeqModule
from pipelines.text.sources import PairData, check_named
from pipelines.text.spec import Translation
from pipelines.text.targets import measure_targets
from pipelines.text.tokenization.tokenizer import Tokenizer

DONE_WITH = {"drop": "dropped", "cut": "truncated"}  # longer pairs


class TranslationRuntime(TextRuntime):
    """Trains, evaluates and exports a translator."""

    def prepare(self, run: Run, recipe: Recipe, start: Start | None) -> Prepared:
        """Read the pairs, and train or take over a vocabulary of both languages."""
        data, config = _data(recipe), model_config(recipe, start)
        check_length(data.length, config)
        refuse_tokenizer(data.tokenizer, recipe)
        train = read_texts(data, data.train, "train")
        validation = read_texts(data, data.validation_sources(), "validation")

        def texts() -> Iterator[str]:
            return itertools.chain(train.sources, train.targets)

        tokenizer = prepare_vocabulary(run, data, texts, start_tokenizer(start))
        recipe = with_language_head(recipe, start)
        objective = _objective(recipe, tokenizer)
        with data_flag("train"):
            rows = _rows(train, tokenizer, data, data.too_long)
        with data_flag("validation"):  # of which all pairs count
            others = _rows(validation, tokenizer, data, "cut")
        _report("train", rows, data.length, DONE_WITH.get(data.too_long, ""))
        _report("validation", others, data.length, DONE_WITH["cut"])
        config = sized(config, tokenizer, start)
        return Prepared(config, recipe.objective, tokenizer, objective, rows, others)

    def split(self, done: Finished, files: tuple[str, ...], options: Options) -> Split:
        """Return other pairs, or the run's own of validation."""
        data, tokenizer = _data(done.recipe), tokenizer_of(done)
        flag = "files" if files else "validation"
        pairs = read_texts(data, files or data.validation_sources(), flag)
        rows = _rows(pairs, tokenizer, data, "cut")
        about = {"rows": len(rows), "rows_cut": rows.cut}
        return Split(_objective(done.recipe, tokenizer), rows, about, pairs, is_own=not files)

    def extra(self, done: Finished, split: Split, options: Options) -> dict[str, Any]:
        """Return how good the written targets are, and how well attention aligns."""
        pairs = expect(split.examples, Pairs)
        chosen = expect(options, TargetOptions)
        found = measure_targets(done, pairs.sources, pairs.targets, chosen)
        return found | (measure_alignment(done) if split.is_own else {})

    def exported(self, done: Finished, options: Options) -> Seq2SeqModule:
        """Return what gives the `text` of the target of each source."""
        return Seq2SeqModule.of_run(done, options)


def read_texts(data: PairData, files: tuple[str, ...], flag: str) -> Pairs:
    """Read pairs as the recipe says; `flag` is named where files cannot be used."""
    check_named(flag, files)
    source, target = data.source, data.target
    if is_embedded(files):
        path, source, target = embedded_pairs(files[0], flag)
        files = (str(path),)
    with data_flag(flag):
        return read_pairs(files, source=source, target=target, encoding_errors=data.encoding_errors)


def _data(recipe: Recipe) -> PairData:
    return expect(recipe.data, PairData)


def _objective(recipe: Recipe, tokenizer: Tokenizer) -> Seq2SeqObjective:
    smoothing = expect(recipe.objective, Translation).smoothing
    head = replace(language_head(recipe), smoothing=smoothing)
    return Seq2SeqObjective(head, tokenizer, example_of)


def _rows(
    pairs: Pairs, tokenizer: Tokenizer, data: PairData, too_long: TooLong
) -> SourceTargetRows:
    end, sides = end_of(tokenizer), (pairs.sources, pairs.targets)
    return SourceTargetRows(tokenizer, *sides, end, data.length, too_long, pairs.places)


def _report(split: str, rows: SourceTargetRows, length: int, done: str) -> None:
    more = ""
    if rows.too_long:
        more = f"; {rows.too_long:,} longer than {length} tokens a side, {done}"
    say(f"{split}: {len(rows):,} pairs{more}")
