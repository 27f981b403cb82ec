"""In-context learning: accuracy over the number of demonstrations, without training.

Brown et al. (arXiv:2005.14165), sections 2 and 2.4 and figure 1.2: each text under test follows
demonstrations that are drawn for it, and the likeliest label wins. The draw is repeated by seeds.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from pipelines.core.api import Finished
from pipelines.core.progress import bar
from pipelines.core.spec import expect
from pipelines.core.tables import Table, classes_of, label_ids
from pipelines.experiments.demonstrations import Contexts, contexts, draw, encoded
from pipelines.experiments.prompts import Prompt, Trials
from pipelines.text.documents import tokenizer_of
from pipelines.text.generation.scoring import Scorer
from pipelines.text.spec import TextTask
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError


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
    _check_kind(done)
    classes, pool = classes_of(test), test if train is None else train
    words = _words(trials, classes)
    labels, pool_labels = label_ids(test, classes), label_ids(pool, classes)
    rows = np.random.default_rng(trials.seed).permutation(len(test))[: trials.limit].tolist()
    texts = [test.texts[row] for row in rows]
    _check_shots(max(trials.shots), texts, pool)
    origin = "words" if trials.words else f"{test.source}, labels"
    candidates = _candidates(tokenizer_of(done), prompt, words, origin)
    scorer = Scorer(
        done.model,
        candidates,
        min(batch, len(rows)),
        expect(done.task, TextTask).prompt_format().is_bidirectional,
    )
    trial = _Trial(
        rows=rows,
        texts=texts,
        labels=labels[rows],
        pool=pool.texts,
        pool_words=[words[label] for label in pool_labels],
        pool_flag="data.files" if train is None else "data.train",
        tokenizer=tokenizer_of(done),
        prompt=prompt,
        scorer=scorer,
        normalize=normalizer(scorer, tokenizer_of(done), prompt, trials.normalize),
    )
    return {
        "rows": len(rows),
        "classes": list(classes),
        "words": list(words),
        "majority": max(Counter(labels[rows].tolist()).values()) / len(rows),
        "chance": 1 / len(classes),
        "results": _results(trial, trials, classes),
    }


@dataclass(frozen=True)
class _Trial:
    """One pass over the texts under test, by the number of shots and the seed of their draw."""

    rows: list[int]
    texts: list[str]  # of the rows
    labels: np.ndarray  # of the rows
    pool: Sequence[str]  # texts of the demonstrations
    pool_words: list[str]  # their labels, in words
    pool_flag: str  # by which they were given
    tokenizer: Tokenizer
    prompt: Prompt
    scorer: Scorer
    normalize: Callable[[np.ndarray], np.ndarray]

    def __call__(
        self, count: int, seed: int, advance: Callable[[int], None]
    ) -> tuple[np.ndarray, np.ndarray, Contexts]:
        """Return the likeliest labels, whether they are right, and the prompts."""
        drawn = [
            draw(seed, row, count, self.pool, text)
            for row, text in zip(self.rows, self.texts, strict=True)
        ]
        shown = [[(self.pool[i], self.pool_words[i]) for i in chosen] for chosen in drawn]
        try:
            prompts = contexts(self.tokenizer, self.prompt, shown, self.texts, self.scorer.room)
        except InputError:  # what follows finds whose fault it is
            encoded(self.tokenizer, self.texts, "data.files")
            encoded(self.tokenizer, [self.pool[i] for i in chain(*drawn)], self.pool_flag)
            raise
        best = self.normalize(self.scorer(prompts.ids, advance)).argmax(axis=1)
        return best, best == self.labels, prompts


def _results(trial, trials, classes):
    """Return the metrics of each number of shots over the seeds; without shots one is enough."""
    plan = [
        (count, range(trials.seed, trials.seed + (trials.seeds if count else 1)))
        for count in sorted(set(trials.shots))
    ]
    results, ready, rows = [], 0, len(trial.rows)
    with bar("few-shot", sum(len(seeds) for _, seeds in plan) * rows) as report:
        for count, seeds in plan:
            outcomes = []
            for seed in seeds:
                message = f"texts · {count} shots, seed {seed}"

                def advance(n, ready=ready, message=message):
                    report(ready + n, message)

                outcomes.append(trial(count, seed, advance))
                ready += rows
            results.append(_summary(count, *zip(*outcomes, strict=True), classes=classes))
    return results


def _check_kind(done):
    if done.model.config.writes == "target":
        raise InputError(
            f"{done.run.folder}: expected a language model that continues texts, such as a GPT. "
            "Received: a model of a source and a target."
        )


def _words(trials, classes):
    """Return the words that are read for the classes."""
    words = trials.words or classes
    if len(words) != len(classes):
        raise InputError(
            f"words: expected {len(classes)}, for the classes {', '.join(classes)}. "
            f"Received: {', '.join(words)}."
        )
    return words


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
