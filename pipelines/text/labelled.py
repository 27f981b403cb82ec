"""What the tasks that learn from labelled tables share: reading, resolving labels, evaluation."""

from dataclasses import replace
from typing import Any, Literal

from pipelines.core.api import Finished, Objective, Prepared, Rows, Split, Start
from pipelines.core.records import data_flag, is_embedded
from pipelines.core.run import Run
from pipelines.core.spec import Options, Recipe, expect
from pipelines.core.start import keep_processor
from pipelines.core.tables import Table, joined, read_table
from pipelines.text.documents import TextRuntime, check_length, tokenizer_of, with_language_head
from pipelines.text.embedded import embedded_table
from pipelines.text.features import row_length
from pipelines.text.sources import TableData, check_named
from pipelines.text.spec import TextTask, unescape
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError
from tfattn.models.model_config import ModelConfig


class TableRuntime(TextRuntime):
    """Labelled tables; a task says what their labels mean."""

    def resolve(self, recipe: Recipe, table: Table, config: ModelConfig) -> TextTask:
        """Return the task with what the training labels say, such as the classes.

        Raises:
            InputError: labels that cannot be used.
        """
        return expect(recipe.objective, TextTask)

    def objective(self, recipe: Recipe, tokenizer: Tokenizer, config: ModelConfig) -> Objective:
        """Return the objective of a resolved recipe."""
        raise NotImplementedError

    def rows(
        self, recipe: Recipe, table: Table, tokenizer: Tokenizer, length: int, config: ModelConfig
    ) -> Rows:
        """Return the rows of a table, of at most `length` tokens."""
        raise NotImplementedError

    def prepare(self, run: Run, recipe: Recipe, start: Start | None) -> Prepared:
        """Read the tables, with the vocabulary of the model that the run starts from."""
        if start is None:
            raise InputError(
                "init: expected a run or a checkpoint that brings a vocabulary. Received none."
            )
        data, config = table_data(recipe), start.config
        check_length(data.length, config)
        tokenizer: Any = start.processor
        keep_processor(run, tokenizer)
        recipe = with_language_head(recipe, start)
        self.check(recipe, config)
        prefixes = getattr(recipe.objective, "prefix", ())
        train = read_labelled(data, data.train, "train", prefixes)
        held_out = data.validation_sources()
        validation = read_labelled(data, held_out, "validation", prefixes)
        recipe = replace(recipe, objective=self.resolve(recipe, train, config))
        objective = self.objective(recipe, tokenizer, config)
        length = data.length or start_length(config)
        rows = (
            self.rows(recipe, table, tokenizer, length, config) for table in (train, validation)
        )
        return Prepared(config, recipe.objective, tokenizer, objective, *rows)

    def check(self, recipe: Recipe, config: ModelConfig) -> None:
        """Refuse a model that cannot answer; by default none."""

    def split(self, done: Finished, files: tuple[str, ...], options: Options) -> Split:
        """Return another table, or the run's own of validation."""
        data, config, tokenizer = table_data(done.recipe), done.model.config, tokenizer_of(done)
        flag = "files" if files else "validation"
        prefixes = getattr(done.task, "prefix", ())
        table = read_labelled(data, files or data.validation_sources(), flag, prefixes)
        rows: Any = self.rows(done.recipe, table, tokenizer, row_length(done), config)
        objective = self.objective(done.recipe, tokenizer, config)
        return Split(objective, rows, {"rows": len(rows), "rows_cut": rows.cut}, table)


def table_data(recipe: Recipe) -> TableData:
    """Return the data of a task that learns from labelled tables."""
    return expect(recipe.data, TableData)


def start_length(config: Any) -> int:
    """Return how many tokens a row has where the recipe does not say."""
    return config.max_length


def default_pool(config: ModelConfig) -> Literal["mean", "last"]:
    """Return what is pooled of a model: the last token of a causal one has seen all others."""
    return "last" if config.is_causal() else "mean"


def read_labelled(
    data: TableData, files: tuple[str, ...], flag: str, prefixes: tuple[str, ...] = ()
) -> Table:
    """Read a labelled table as the recipe says; `flag` is named where no files are given.

    Args:
        data: of the recipe.
        files: globs.
        flag: what they were given by.
        prefixes: before each text; one for all files, or one for each of `files`.
    """
    check_named(flag, files)
    if len(prefixes) > 1 and len(prefixes) != len(files):
        raise InputError(
            "TextToText.prefix: expected one for all files, or one for each of the "
            f"{len(files)} of --data.{flag}. Received: {len(prefixes)}."
        )
    if is_embedded(files):
        data = replace(data, text="text", label="summary")
        files = (str(embedded_table(files[0], flag)),)
    groups = [(name,) for name in files] if len(prefixes) > 1 else [files]
    tables = []
    with data_flag(flag):
        for group in groups:
            table = read_table(
                group,
                text=data.text,
                text_pair=data.text_pair,
                label=data.label,
                encoding_errors=data.encoding_errors,
            )
            tables.append(table)
    if not prefixes:
        return tables[0]
    prefixed = [
        replace(table, texts=[unescape(prefix) + text for text in table.texts])
        for prefix, table in zip(prefixes, tables, strict=True)
    ]
    return joined(prefixed)
