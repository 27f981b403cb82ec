"""Splits of a finished run, and how good the targets are that its model writes for them."""

from pathlib import Path
from typing import Any, cast

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines import recipes
from pipelines.data.batches import Rows
from pipelines.generation.measures import bleu_by_length, measures, signature
from pipelines.generation.writer import Writer
from pipelines.inference.finished import Finished
from pipelines.progress import bar, say
from pipelines.runs import write_picture
from pipelines.training.labels import labelled_rows, read_labelled
from pipelines.training.tasks import pair_rows, pair_texts
from tfattn.models.config import TransformerConfig
from tfattn.models.sampling import Sampling

Texts = tuple[list[str], list[str]]  # sources and the targets that are wanted
FEW = 10  # texts of a length


def labelled_split(done: Finished, files: tuple[str, ...]) -> tuple[Rows, Texts | None]:
    """Return the rows of labelled texts, and the texts where the model writes targets.

    Args:
        done: a finished run of a table.
        files: globs; none = its own validation split.
    """
    data, objective = cast(recipes.TableData, done.recipe.data), done.recipe.objective
    flag = "files" if files else "validation"
    prefixes = getattr(objective, "prefix", ())
    table = read_labelled(data, files or recipes.held_out(data), flag, prefixes)
    pair = not isinstance(done.model.config, TransformerConfig)
    rows = labelled_rows(table, objective, done.tokenizer, done.length, pair)
    return rows, (table.texts, table.labels) if pair else None


def paired_split(done: Finished, files: tuple[str, ...]) -> tuple[Rows, Texts]:
    """Return the rows of pairs, and the texts.

    Args:
        done: a finished run of pairs.
        files: as in training; none = its own validation split.
    """
    data = cast(recipes.PairData, done.recipe.data)
    pairs = pair_texts(data, files or recipes.held_out(data), "files" if files else "validation")
    rows = pair_rows(pairs, done.tokenizer, data, "cut")
    return rows, (pairs.sources, pairs.targets)


def measure_written(
    done: Finished,
    sources: list[str],
    wanted: list[str],
    beams: int,
    picture: Path | None = None,
) -> dict[str, Any]:
    """Return how good the targets are that the model writes, in all and by length of the source.

    Args:
        done: a finished run.
        sources: texts.
        wanted: their targets.
        beams: of the search; 1 = always the likeliest token.
        picture: where BLEU by length is drawn.
    """
    sampling = Sampling(beams=beams) if beams > 1 else Sampling(greedy=True)
    writer = Writer(done.model, done.tokenizer, sampling)
    with bar("writing targets", len(sources)) as report:
        found = writer.write(
            sources, done.length, progress=lambda n: report(n, "texts"), cut=done.length
        )
    written = [texts[0].text for texts in found]
    by_length = bleu_by_length(sources, written, wanted)
    if picture is not None:
        write_picture(picture, draw_by_length({str(done.run.folder): by_length}))
        say(f"BLEU by length: {picture}")
    about = {"beams": beams, "sacrebleu": signature(), "by_length": by_length}
    return {**measures(written, wanted), **about}


def draw_by_length(runs: dict[str, list[dict[str, Any]]]) -> Figure:
    """Return a figure of BLEU by the words of the source, a line a run.

    Lengths of which there are fewer than `FEW` texts are left out beside others that have more:
    their BLEU is mostly chance.

    Args:
        runs: by the name that the legend has, what `bleu_by_length` gave.
    """
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panel: Any = figure.subplots()
    places: dict[float, str] = {}
    for name, rows in runs.items():
        rows = [row for row in rows if row["texts"] >= FEW] or rows
        middle = [(row["from"] + (row["to"] or row["from"] + 20)) / 2 for row in rows]
        panel.plot(middle, [row["bleu"] for row in rows], marker="o", label=name)
        for place, row in zip(middle, rows, strict=True):
            upper = f"–{row['to'] - 1}" if row["to"] else " and more"
            places[place] = f"{row['from']}{upper}\n({row['texts']})"
    panel.set_xticks(list(places), list(places.values()), fontsize=8)
    panel.set_xlabel("words of the source (texts)")
    panel.set_ylabel("BLEU")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    return figure
