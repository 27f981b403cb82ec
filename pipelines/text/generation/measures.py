"""How good written texts are beside the ones wanted: BLEU and chrF by sacrebleu, ROUGE, exactness.

BLEU is sacrebleu's (arXiv:1804.08771) with its default tokenization, over detokenized text, and
chrF its chrF2; both are of the whole corpus and from 0 to 100, as is everything here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

EDGES = (0, 5, 10, 15, 20, 25, 30, 40, 60)  # words of a source: from each to below the next


def measures(written: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """Return BLEU, chrF, ROUGE-1, -2 and -L (F1), and the share of texts that are exactly it."""
    from rouge_score.rouge_scorer import RougeScorer

    found = bleu_and_chrf(written, wanted)
    names = ("rouge1", "rouge2", "rougeL")
    scorer = RougeScorer(list(names), use_stemmer=True)
    each = [scorer.score(target, text) for text, target in zip(written, wanted, strict=True)]
    for name in names:
        found[name.lower()] = 100 * float(np.mean([scores[name].fmeasure for scores in each]))
    same = [text == target for text, target in zip(written, wanted, strict=True)]
    return {**found, "exact": 100 * float(np.mean(same))}


def bleu_and_chrf(written: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """Return corpus BLEU and chrF."""
    import sacrebleu

    said, references = list(written), [list(wanted)]
    return {
        "bleu": sacrebleu.corpus_bleu(said, references).score,
        "chrf": sacrebleu.corpus_chrf(said, references).score,
    }


def signature() -> str:
    """Return how sacrebleu counts, to be told beside its BLEU."""
    from sacrebleu.metrics.bleu import BLEU

    metric: Any = BLEU()
    metric.corpus_score(["a"], [["a"]])
    return str(metric.get_signature())


def bleu_by_length(
    sources: Sequence[str], written: Sequence[str], wanted: Sequence[str]
) -> list[dict[str, Any]]:
    """Return corpus BLEU and chrF of the texts whose sources have so many words.

    Each row has `from` and `to` (words, the latter not among them; None = no end), `texts`, `bleu`
    and `chrf`; lengths of which there is no source are left out.
    """
    words = [len(source.split()) for source in sources]
    bucket = (np.searchsorted(EDGES, words, side="right") - 1).tolist()
    rows = []
    for number in sorted(set(bucket)):
        here = [i for i, own in enumerate(bucket) if own == number]
        said, target = ([texts[i] for i in here] for texts in (written, wanted))
        upper = EDGES[number + 1] if number + 1 < len(EDGES) else None
        row = {"from": EDGES[number], "to": upper, "texts": len(here)}
        rows.append(row | bleu_and_chrf(said, target))
    return rows
