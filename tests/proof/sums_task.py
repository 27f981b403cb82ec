"""The one task of the domain of sums: its whole life."""

import csv
import json
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from sums_spec import Digits, NumberData, SumDigits

from pipelines.core.api import Objective, Prepared, Report, Rows, Selection, Split, TaskRuntime
from pipelines.core.classification import cross_entropy
from pipelines.core.records import expand
from pipelines.core.spec import expect
from tfattn.errors import InputError

END = 10  # after the last digit


@dataclass(frozen=True)
class Standardizer:
    """The processor: columns to mean 0 and deviation 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "columns.json").write_text(json.dumps(vars(self)))

    def in_graph(self):
        return lambda numbers: (numbers - tf.constant(self.mean)) / tf.constant(self.std)


class NumberRows(Rows):
    """Numbers, and their sums as digits of as many places as each has, and as text."""

    def __init__(self, table, places):
        self.numbers, self.places = table[:, :-1].astype(np.float32), places
        self.texts = [str(int(number)) for number in table[:, -1]]
        if max(map(len, self.texts)) >= places:
            raise InputError(f"SumDigits.places: expected room for all sums. Received: {places}.")

    def __len__(self):
        return len(self.numbers)

    def read(self, indices):
        digits = np.full((len(indices), self.places), END, np.int32)
        for row, index in enumerate(indices):
            text = self.texts[index]
            digits[row, : len(text)] = [int(digit) for digit in text]
        lengths = np.array([len(self.texts[index]) for index in indices], np.int32)
        texts = np.array([self.texts[index].encode() for index in indices], "S8")
        numbers = self.numbers[indices]
        return {"numbers": numbers, "digits": digits, "lengths": lengths, "texts": texts}


class ExactMatch:
    """The share of numbers that are written exactly, compared as strings."""

    def __init__(self):
        self.right = self.rows = 0

    def update(self, outputs, batch):
        written = [as_text(digits) for digits in outputs["digits"]]
        wanted = [text.decode() for text in batch["targets"]["texts"]]
        assert all(map(len, wanted)), "a row that is only there to fill a batch"
        self.right += sum(a == b for a, b in zip(written, wanted, strict=True))
        self.rows += len(wanted)

    def result(self):
        return {"exact_match": self.right / max(self.rows, 1)}


def as_text(digits):
    end = np.flatnonzero(np.append(digits, END) == END)[0]
    return "".join(map(str, digits[:end]))


class SumDigitsObjective(Objective):
    """Cross entropy of the digits and of the end, which has a weight of its own."""

    unit = "rows"

    def __init__(self, task, processor):
        self.task, self.processor = task, processor
        self.heads = (Digits(places=task.places),)
        self.terms = {"loss": "digits"}
        self.losses = ("loss",)
        self.selects = Selection("exact_match", higher_is_better=True)

    def batch(self, rows, epoch, row):
        place = tf.range(self.task.places)[None]
        lengths = rows["lengths"][:, None]
        end = tf.where(place == lengths, self.task.end_weight, 0.0)
        return {
            "features": {"numbers": self.processor.in_graph()(rows["numbers"])},
            "targets": {"digits": rows["digits"], "texts": rows["texts"]},
            "weights": {"digits": tf.where(place < lengths, 1.0, end)},
        }

    def measure(self, model, batch, training):
        logits = model(batch["features"], training=training)
        loss = cross_entropy(logits, batch["targets"]["digits"]) * batch["weights"]["digits"]
        digits = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return {"loss": tf.reduce_sum(loss)}, {"digits": digits, "logits": logits}

    def metrics(self):
        return (ExactMatch(),)

    def report(self, model, batch, samples, figures):
        logits = model(batch["features"], training=False)
        written = [as_text(row) for row in tf.argmax(logits, axis=-1).numpy()]
        wanted = [text.decode() for text in batch["targets"]["texts"].numpy()]
        table = ["| sum | written |", "|---|---|"]
        table += [f"| {a} | {b} |" for a, b in list(zip(wanted, written, strict=True))[:samples]]
        drawn = {"sums": _scatter(wanted, written)} if figures else {}
        return Report(table, {"rows_shown": float(len(wanted))}, drawn)


def _scatter(wanted, written):
    figure = Figure(figsize=(3, 3))
    figure.subplots().scatter([int(x) for x in wanted], [int(x or 0) for x in written])
    return figure


class SumsModule(tf.Module):
    """The signature: `numbers` (b, columns) to the `text` (b,) of their sum."""

    def __init__(self, model, processor, columns):
        super().__init__()
        self.model, self.processor = model, processor
        spec = [tf.TensorSpec((None, columns), tf.float32, name="numbers")]
        self.serve = tf.function(self._serve, input_signature=spec, autograph=False)

    def signatures(self):
        return {"serving_default": self.serve}

    def _serve(self, numbers):
        logits = self.model({"numbers": self.processor.in_graph()(numbers)}, training=False)
        digits = tf.argmax(logits, axis=-1, output_type=tf.int32)
        before_end = tf.math.cumsum(tf.cast(digits == END, tf.int32), axis=1) == 0
        letters = tf.where(before_end, tf.strings.as_string(digits), "")
        return {"text": tf.strings.reduce_join(letters, axis=1)}


class SumDigitsRuntime(TaskRuntime):
    """Trains, evaluates and exports."""

    def load_processor(self, folder, config):
        found = json.loads((folder / "columns.json").read_text())
        return Standardizer(tuple(found["mean"]), tuple(found["std"]))

    def prepare(self, run, recipe, start):
        data, task = expect(recipe.data, NumberData), expect(recipe.objective, SumDigits)
        table = read(data.files)
        held_out = max(1, round(len(table) * data.share))
        train, validation = table[held_out:], table[:held_out]
        columns = train[:, :-1]
        processor = Standardizer(
            tuple(columns.mean(axis=0).tolist()), tuple((columns.std(axis=0) + 1e-6).tolist())
        )
        config = replace(start.config if start else recipe.model, columns=columns.shape[1])
        objective = SumDigitsObjective(task, processor)
        rows = (NumberRows(part, task.places) for part in (train, validation))
        return Prepared(config, task, processor, objective, *rows)

    def split(self, done, files, options):
        data, task = done.recipe.data, done.task
        table = read(files or data.files)
        if not files:
            table = table[: max(1, round(len(table) * data.share))]
        rows = NumberRows(table, task.places)
        return Split(SumDigitsObjective(task, done.processor), rows, {"rows": len(rows)})

    def extra(self, done, split, options):
        return {"largest": max(map(int, split.rows.texts))}

    def exported(self, done, options):
        return SumsModule(done.model, done.processor, done.model.config.columns)


def read(files):
    rows = []
    for path in expand(files, "csv"):
        with open(path, newline="", encoding="utf-8") as file:
            rows += [[float(cell) for cell in row] for row in csv.reader(file)]
    return np.array(rows)
