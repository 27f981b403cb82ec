"""The command `translate`: sources to targets, with scores and pictures of what was looked at."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from pipelines.core.api import Finished
from pipelines.core.atomic import replacing, write_picture
from pipelines.core.progress import bar, console, say
from pipelines.core.run import try_file
from pipelines.core.spec import expect
from pipelines.text.documents import tokenizer_of
from pipelines.text.features import row_length
from pipelines.text.figures import attention_maps
from pipelines.text.generation.writer import Writer, Written, end_of, target_begin
from pipelines.text.spec import TextTask
from tfattn.errors import InputError
from tfattn.models.sampling import Sampling
from tfattn.visualize import Map, alignment_figure, rollout

MANY = 100  # sources for which it pays to compile the search, which takes some ten seconds


def translate(
    done: Finished,
    sources: list[str],
    tokens: int | None,
    sampling: Sampling,
    best: int = 1,
    seed: int = 0,
    attention: Path | None = None,
) -> dict[str, Any]:
    """Write the targets of sources.

    Args:
        done: a finished run of a model of a source and a target.
        sources: texts.
        tokens: that a target has at most; None = as many as in training.
        sampling: how they are chosen.
        best: targets of each source, at most the beams.
        seed: of the draws.
        attention: where the alignment of the first source goes: .png a picture, .npz the arrays.

    Returns:
        `sources`, `texts` (the best of each), and where there are beams `scores`; with several
        targets also `best`, a list of texts and scores for each source.

    Raises:
        InputError: a model of another kind, or a source that is too long.
    """
    tokenizer = tokenizer_of(done)  # refuses other models than those of text
    if done.model.config.writes != "target":
        raise InputError(
            f"{done.run.folder}: expected a model of a source and a target, such as T5 or "
            "bahdanau. Received a single stack; `generate` continues texts with it."
        )
    if not 1 <= best <= sampling.beams:
        raise InputError(f"best: expected 1 to the {sampling.beams} beams. Received: {best}.")
    if attention is not None:
        try_file(attention, "attention", "a file")
    if attention is not None and not done.model.config.attends:
        raise InputError(f"attention: expected a model that has some. Received: {done.run.folder}.")
    many = len(sources) > MANY
    writer = Writer(done.model, tokenizer, sampling, jit=many)
    given = [expect(done.task, TextTask).prompt_format().encoder_input(s) for s in sources]
    tokens = row_length(done) if tokens is None else tokens
    with bar("translating", len(sources)) as report:
        found = writer.write(given, tokens, best, seed, lambda n: report(n, "texts"))
    for source, texts in zip(sources, found, strict=True):
        console.print(source, markup=False, soft_wrap=True)
        for text in texts:
            score = f"  {text.score:.3f}" if sampling.beams > 1 else ""
            said = text.text or "(nothing)"
            console.print(f"  → {said}{score}", markup=False, soft_wrap=True)
    if attention is not None:
        _draw(looked(done, given[0], found[0][0]), attention)
    result: dict[str, Any] = {"sources": sources, "texts": [texts[0].text for texts in found]}
    if sampling.beams > 1:
        result["scores"] = [texts[0].score for texts in found]
    if best > 1:
        result["best"] = [[[text.text, text.score] for text in texts] for texts in found]
    return result


class AttentionTrace(NamedTuple):
    """What the tokens of a target looked at while they were written."""

    alignment: Map  # of the source
    reached: np.ndarray | None  # the rollout (s, s) of the encoder, where there is one
    maps: dict[str, Map]  # of the encoder, the decoder, and between them


def looked(done: Finished, source: str, written: Written) -> AttentionTrace:
    """Return what each token of a target looked at.

    Args:
        done: a finished run of a model of a source and a target, with attention.
        source: a text, with the prefix of its task if it has one.
        written: its target.
    """
    tokenizer = tokenizer_of(done)
    end = end_of(tokenizer)
    ids = [*tokenizer.encode_batch([source])[0].tolist(), end]
    # The place that reads a token writes the next one: of that its row tells.
    target = [target_begin(tokenizer), *written.ids]
    features = {"tokens": tf.constant([ids]), "target_tokens": tf.constant([target])}
    features |= {
        name: tf.ones_like(features[of])
        for name, of in (("segments", "tokens"), ("target_segments", "target_tokens"))
    }
    maps = attention_maps(done.model, features, tokenizer)
    shown, encoder = maps["attention/alignment"], maps.get("attention/source")
    names = [*shown.looking[1:], tokenizer.vocabulary[end]]
    reached = None if encoder is None else rollout(encoder.weights)
    return AttentionTrace(shown._replace(looking=names), reached, maps)


def _draw(seen: AttentionTrace, path: Path) -> None:
    """Write a picture, or the arrays."""
    if path.suffix == ".npz":
        arrays: dict[str, Any] = {
            name.removeprefix("attention/"): of.weights for name, of in seen.maps.items()
        }
        arrays |= {
            "source_tokens": np.array(seen.alignment.looked_at),
            "written_tokens": np.array(seen.alignment.looking),
        }
        if seen.reached is not None:
            arrays["rollout"] = seen.reached
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)
    else:
        write_picture(path, alignment_figure(seen.alignment, seen.reached))
    say(f"attention: {path}")
