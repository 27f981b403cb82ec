"""How good the targets are that a model writes, in all and by the length of the source."""

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.core.api import Finished
from pipelines.core.atomic import write_picture
from pipelines.core.progress import bar, say
from pipelines.core.run import user_path
from pipelines.text.documents import tokenizer_of
from pipelines.text.features import row_length
from pipelines.text.generation.measures import bleu_by_length, measures, signature
from pipelines.text.generation.writer import Writer
from pipelines.text.options import TargetOptions
from tfattn.models.sampling import Sampling

FEW = 10  # texts of a length


def measure_targets(
    done: Finished, sources: list[str], targets: list[str], options: TargetOptions
) -> dict[str, Any]:
    """Return BLEU, chrF and ROUGE of the targets that the model writes.

    Args:
        done: a finished run.
        sources: texts.
        targets: their targets.
        options: the beams of the search, and where BLEU by length is drawn.
    """
    beams, length = options.beams, row_length(done)
    sampling = Sampling(beams=beams) if beams > 1 else Sampling(greedy=True)
    writer = Writer(done.model, tokenizer_of(done), sampling)
    with bar("writing targets", len(sources)) as report:
        found = writer.write(sources, length, progress=lambda n: report(n, "texts"), cut=length)
    written = [texts[0].text for texts in found]
    by_length = bleu_by_length(sources, written, targets)
    if options.picture is not None:
        path = user_path(options.picture)
        write_picture(path, draw_by_length({str(done.run.folder): by_length}))
        say(f"BLEU by length: {path}")
    about = {"beams": beams, "sacrebleu": signature(), "by_length": by_length}
    return {**measures(written, targets), **about}


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
