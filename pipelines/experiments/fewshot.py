"""In-context learning: accuracy over the number of demonstrations, without training.

Brown et al. (arXiv:2005.14165), sections 2 and 2.4 and figure 1.2: each text under test follows
demonstrations that are drawn for it, and the likeliest label wins. The draw is repeated by seeds.
"""

import math
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np

from pipelines.data.tables import Table, classes_of, label_ids
from pipelines.experiments.demonstrations import contexts, draw, encoded
from pipelines.experiments.prompts import Prompt, Trials
from pipelines.generation.scoring import Scorer
from pipelines.inference.finished import Finished
from pipelines.progress import bar
from pipelines.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError
from tfattn.models.config import TransformerConfig


def normalizer(
    scorer: Scorer, tokenizer: Tokenizer, prompt: Prompt, how: str
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes comparable scores (n, c) of log-probabilities (n, c).

    Args:
        scorer: of the candidates.
        tokenizer: of the model.
        prompt: has the answer context.
        how: "sum", "token" or "unconditional", as `Trials` has the equations.

    Raises:
        InputError: no answer context.
    """
    if how == "sum":
        return lambda scores: scores
    if how == "token":
        return lambda scores: scores / scorer.lengths
    start = [] if tokenizer.start_id is None else [tokenizer.start_id]
    (ids,) = encoded(tokenizer, [prompt.answer_context], "template")
    ids = np.array([*start, *ids], np.int32)[-scorer.room :]
    if not len(ids):
        raise InputError(
            "template: expected words before {label}, after which --normalize unconditional asks "
            f"for it. Received: {prompt.template!r}."
        )
    without = scorer([ids])
    return lambda scores: scores - without


def few_shot(
    done: Finished, test: Table, train: Table | None, trials: Trials, prompt: Prompt, batch: int
) -> dict[str, Any]:
    """Return the accuracy of a language model for each number of demonstrations.

    Args:
        done: a finished run of causal language modelling.
        test: texts to try; its labels are the classes.
        train: demonstrations; None: the other rows of `test`.
        trials: what is asked.
        prompt: how it is written.
        batch: passes at a time.

    Returns:
        `rows` tried, `classes` and the `words` read for them, the accuracies of `chance` and of the
        `majority` class, and `results`, of each number of shots: the mean accuracy, its sample
        deviation over the seeds (None for one seed, and without demonstrations, which no seed
        changes), the standard error of a mean over so many rows, how often each class was chosen,
        and how many prompts were shortened.

    Raises:
        InputError: a model of another kind, one class only, another number of words, labels that
            the vocabulary cannot tell apart, or more demonstrations than there are.
    """
    if not isinstance(done.model.config, TransformerConfig):
        raise InputError(
            f"{done.run.folder}: expected a language model that continues texts, such as a GPT. "
            "Received: a model of a source and a target."
        )
    classes, pool = classes_of(test), test if train is None else train
    words = trials.words or classes
    if len(words) != len(classes):
        raise InputError(
            f"words: expected {len(classes)}, for the classes {', '.join(classes)}. "
            f"Received: {', '.join(words)}."
        )
    labels, known = label_ids(test, classes), label_ids(pool, classes)
    rows = np.random.default_rng(trials.seed).permutation(len(test))[: trials.limit].tolist()
    _check_shots(max(trials.shots), [test.texts[row] for row in rows], pool)
    named = "words" if trials.words else f"{test.source}, labels"
    candidates = _candidates(done.tokenizer, prompt, words, named)
    scorer = Scorer(done.model, candidates, min(batch, len(rows)), done.prefix)
    normalize = normalizer(scorer, done.tokenizer, prompt, trials.normalize)
    texts, shots, results = [test.texts[row] for row in rows], sorted(set(trials.shots)), []

    def trial(count, seed, advance):
        drawn = [draw(seed, row, count, pool.texts, test.texts[row]) for row in rows]
        shown = [[(pool.texts[i], words[known[i]]) for i in found] for found in drawn]
        try:
            read = contexts(done.tokenizer, prompt, shown, texts, scorer.room)
        except InputError:  # what follows finds whose fault it is
            encoded(done.tokenizer, texts, "data.files")
            flag = "data.files" if train is None else "data.train"
            encoded(done.tokenizer, [pool.texts[i] for i in chain(*drawn)], flag)
            raise
        best = normalize(scorer(read.ids, advance)).argmax(axis=1)
        return best, best == labels[rows], read

    plan = [
        (count, range(trials.seed, trials.seed + (trials.seeds if count else 1))) for count in shots
    ]
    with bar("few-shot", sum(len(seeds) for _, seeds in plan) * len(rows)) as report:
        ready = 0
        for count, seeds in plan:
            found = []
            for seed in seeds:
                said = f"texts · {count} shots, seed {seed}"

                def advance(n, ready=ready, said=said):
                    report(ready + n, said)

                found.append(trial(count, seed, advance))
                ready += len(rows)
            results.append(_summary(count, *zip(*found, strict=True), classes=classes))
    return {
        "rows": len(rows),
        "classes": list(classes),
        "words": list(words),
        "majority": max(Counter(labels[rows].tolist()).values()) / len(rows),
        "chance": 1 / len(classes),
        "results": results,
    }


def _summary(count, best, hits, read, classes):
    """Return the numbers of one number of shots from what each seed gave."""
    right, rows = np.sum(hits, axis=1), len(hits[0])  # whole numbers: equal ones do not deviate
    mean, shares = float(np.mean(hits)), np.bincount(np.ravel(best), minlength=len(classes))
    left = np.concatenate([one.shots for one in read])
    cut = np.concatenate([one.cut for one in read])
    return {
        "shots": count,
        "accuracy": mean,
        "std": float(right.std(ddof=1)) / rows if len(hits) > 1 else None,
        "standard_error": math.sqrt(mean * (1 - mean) / rows),
        "seeds": len(hits),
        "chosen": dict(zip(classes, (shares / len(left)).tolist(), strict=True)),
        "prompts": len(left),
        "shots_left": float(left.mean()),
        "prompts_shortened": int(np.sum((left < count) | cut)),
        "texts_cut": int(cut.sum()),
    }


def _check_shots(count, texts, pool):
    same = Counter(pool.texts)
    least = len(pool) - max(same[text] for text in texts)
    if count > least:
        raise InputError(
            f"shots: expected at most {least}, the rows of {pool.source} with another text than "
            f"the one under test. Received: {count}."
        )


def _candidates(tokenizer, prompt, words, named):
    encoded(tokenizer, [prompt.context([("", "")], "")], "template, separator")
    found = encoded(tokenizer, [prompt.lead + word for word in words], named)
    seen: dict[tuple[int, ...], str] = {}
    for word, ids in zip(words, map(tuple, found), strict=True):
        other = seen.setdefault(ids, word)
        if not ids or other != word:
            raise InputError(
                "label: expected classes that differ in the tokens of the vocabulary; --words "
                f"gives them other names. Received: {other!r} and {word!r}, as {list(ids)}."
            )
    return [ids.tolist() for ids in found]
