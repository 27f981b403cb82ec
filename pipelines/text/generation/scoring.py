"""How likely given continuations are: the log-probabilities of candidates after a context.

    log P(candidate | context) = sum over j of log softmax(logits)[candidate[j]]

where the logits of j are those after the context and candidate[:j]. One forward pass of the context
and a candidate without its last token gives all terms; it serves every candidate that begins so,
and candidates of one token take one pass together. A prefix language model reads the context in
both directions, as `prefill` (tfattn/models/generate.py) does.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.core.devices import choose_compile
from tfattn.errors import InputError
from tfattn.models.generate import check
from tfattn.models.sampling import Sampling
from tfattn.models.transformer import Transformer

COLUMNS = 32  # widths are multiples of it, or the whole context, so that XLA compiles few


class Scorer:
    """Scores the same candidates after any contexts.

    Args:
        model: a causal language model.
        candidates: ids of each, one token at least.
        batch: passes at a time.
        prefix: whether the tokens of a context see each other (arXiv:1910.10683, section 3.2.1).

    Raises:
        InputError: a model of another kind, or candidates that leave no room for a context.
    """

    def __init__(
        self,
        model: Transformer,
        candidates: Sequence[Sequence[int]],
        batch: int = 32,
        prefix: bool = False,
    ):
        check(model, Sampling())
        self.model, self.batch, self.prefix = model, batch, prefix
        self.lengths = np.array([len(candidate) for candidate in candidates])
        longest = int(self.lengths.max())
        self.context = model.config.max_length
        self.room = self.context - longest + 1  # tokens that a context may have
        if self.room < 1:
            raise InputError(
                f"label: expected classes that fit into the model's {self.context} positions. "
                f"Received one of {longest} tokens."
            )
        self.stems, taken = _stems([tuple(map(int, candidate)) for candidate in candidates])
        ids = np.zeros((longest, len(candidates)), np.int32)  # (p, c)
        terms = np.zeros((len(self.stems), longest, len(candidates)), np.float32)
        for column, (candidate, stem) in enumerate(zip(candidates, taken, strict=True)):
            ids[: len(candidate), column] = candidate
            terms[stem, : len(candidate), column] = 1.0
        self._ids, self._terms = tf.constant(ids), tf.constant(terms)
        rows, numbers = (tf.TensorSpec((batch, *t), tf.int32) for t in ((None,), ()))
        self._score = tf.function(
            self._passes,
            input_signature=[rows, rows, numbers, numbers],
            autograph=False,
            # On a CPU graph mode takes any width at once; fused stretches (training/engine.py) are
            # compiled for each, which took longer than the tenth that a pass then saves.
            jit_compile=choose_compile("auto") == "xla",
        )

    def __call__(
        self, contexts: Sequence[np.ndarray], report: Callable[[int], Any] = lambda count: None
    ) -> np.ndarray:
        """Return the log-probability of each candidate after each context, (n, c) float64, nats.

        Args:
            contexts: ids of each, 1 to `room`.
            report: called with the number of contexts that are done, again and again.
        """
        found = np.zeros((len(contexts), len(self.lengths)))
        stems = len(self.stems)
        order = np.argsort([-len(context) for context in contexts], kind="stable")
        work = [(row, stem) for row in order for stem in range(stems)]  # neighbours are as long
        for begin in range(0, len(work), self.batch):
            part = work[begin : begin + self.batch]
            scores = self._score(*self._features(contexts, part)).numpy()
            for (row, _), score in zip(part, scores, strict=False):  # the rest only fills up
                found[row] += score
            report(min(begin + self.batch, len(work)) // stems)
        return found

    def _features(self, contexts, part):
        """Return tokens and segments (b, t), the column before the candidate and the stem (b,)."""
        longest = max(len(contexts[row]) + len(self.stems[stem]) for row, stem in part)
        width = min(-(-longest // COLUMNS) * COLUMNS, self.context)
        tokens, segments = np.zeros((2, self.batch, width), np.int32)
        last, stems = np.zeros((2, self.batch), np.int32)
        for place, (row, stem) in enumerate(part):
            ids = [*contexts[row], *self.stems[stem]]
            tokens[place, : len(ids)], segments[place, : len(ids)] = ids, 1
            last[place], stems[place] = len(contexts[row]) - 1, stem
        return tuple(map(tf.constant, (tokens, segments, last, stems)))

    def _passes(self, tokens, segments, last, stems):
        """Return what each pass adds to the score of each candidate, (b, c)."""
        steps, candidates = self._ids.shape
        columns = tf.minimum(last[:, None] + tf.range(steps), tf.shape(tokens)[1] - 1)  # (b, p)
        features = {"tokens": tokens, "segments": segments, "predict_positions": columns}
        if self.prefix:  # all tokens of a context have the same order
            places = tf.range(tf.shape(tokens)[1])
            features["order"] = tf.where(places <= last[:, None], 0, places)
        logits = self.model(features, training=False)  # (b, p, v)
        ids = tf.broadcast_to(self._ids, (self.batch, steps, candidates))
        shares = tf.gather(tf.nn.log_softmax(logits), ids, batch_dims=2)  # (b, p, c)
        return tf.reduce_sum(shares * tf.gather(self._terms, stems), axis=1)


def _stems(candidates):
    """Return the candidates without their last token, those apart that begin another one.

    With them, for each candidate the number of one that it is read from.
    """
    stems = sorted({candidate[:-1] for candidate in candidates})
    stems = [a for a in stems if not any(b != a and b[: len(a)] == a for b in stems)]
    begins = [[b[: len(c) - 1] == c[:-1] for b in stems].index(True) for c in candidates]
    return stems, begins
