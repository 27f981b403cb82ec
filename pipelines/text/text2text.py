"""Text to text: the answer to a text, by one stack or by an encoder and a decoder."""

from dataclasses import replace
from typing import Any

from pipelines.core.api import Exported, Finished, Objective, Rows, Split
from pipelines.core.spec import Options, Recipe, expect
from pipelines.core.tables import Table
from pipelines.text.causal_lm import CausalLMObjective
from pipelines.text.causal_module import CausalLMModule
from pipelines.text.data.answer_rows import AnswerRows
from pipelines.text.data.source_target_rows import SourceTargetRows, example_of
from pipelines.text.documents import language_head
from pipelines.text.generation.writer import end_of
from pipelines.text.labelled import TableRuntime
from pipelines.text.options import TargetOptions
from pipelines.text.seq2seq import Seq2SeqObjective
from pipelines.text.seq2seq_module import Seq2SeqModule
from pipelines.text.spec import TextToText
from pipelines.text.targets import measure_targets
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError
from tfattn.models.model_config import ModelConfig


class TextToTextRuntime(TableRuntime):
    """Trains, evaluates and exports a model that answers texts."""

    def check(self, recipe: Recipe, config: ModelConfig) -> None:
        """Refuse a model that cannot write."""
        if config.writes == "nothing":
            raise InputError(
                "init: expected a causal model, or an encoder with a decoder, for it is to write "
                "text. Received a model in which tokens see what follows them."
            )

    def objective(self, recipe: Recipe, tokenizer: Tokenizer, config: ModelConfig) -> Objective:
        """Return the loss of the answers alone."""
        smoothing = expect(recipe.objective, TextToText).smoothing
        head = replace(language_head(recipe), smoothing=smoothing)
        if config.writes == "target":
            return Seq2SeqObjective(head, tokenizer, example_of)
        return CausalLMObjective(head, tokenizer, seed=recipe.train.seed)

    def rows(
        self, recipe: Recipe, table: Table, tokenizer: Tokenizer, length: int, config: ModelConfig
    ) -> Rows:
        """Return sources and targets, or rows in which the answers alone are predicted."""
        if config.writes == "target":
            end = end_of(tokenizer)
            return SourceTargetRows(tokenizer, table.texts, table.labels, end, length)
        delimiter = expect(recipe.objective, TextToText).prompt_format().delimiter
        texts = [text + delimiter for text in table.texts]
        return AnswerRows(tokenizer, texts, table.labels, length)

    def split(self, done: Finished, files: tuple[str, ...], options: Options) -> Split:
        """Return another table, or the run's own of validation."""
        chosen = expect(options, TargetOptions)
        for name in ("beams", "picture") if done.model.config.writes != "target" else ():
            value = getattr(chosen, name)
            if value != getattr(TargetOptions, name):
                raise InputError(
                    f"{name}: expected none, for {done.run.folder} writes no targets. "
                    f"Received: {value}."
                )
        return super().split(done, files, options)

    def extra(self, done: Finished, split: Split, options: Options) -> dict[str, Any]:
        """Return how good the written targets are, of a model with a decoder."""
        if done.model.config.writes != "target":
            return {}
        table = expect(split.examples, Table)
        return measure_targets(done, table.texts, table.labels, expect(options, TargetOptions))

    def exported(self, done: Finished, options: Options) -> Exported:
        """Return what gives the `text` of the answer."""
        module = Seq2SeqModule if done.model.config.writes == "target" else CausalLMModule
        return module.of_run(done, options)
