"""The command `generate`: texts that go on from prompts, and what is said of them."""

from typing import Any

from pipelines.core.api import Finished
from pipelines.core.progress import say
from pipelines.core.spec import expect
from pipelines.text.documents import tokenizer_of
from pipelines.text.generation.generator import Generator, text_added
from pipelines.text.generation.writer import Writer
from pipelines.text.spec import TextTask
from tfattn.models.sampling import Sampling


def generate(
    done: Finished, prompts: tuple[str, ...], tokens: int, sampling: Sampling, seed: int, show: Any
) -> dict[str, Any]:
    """Continue the prompts of a run's model.

    Args:
        done: a finished run of causal language modelling, or of writing answers.
        prompts: texts to continue.
        tokens: at most so many are added to each.
        sampling: how they are chosen.
        seed: the same one gives the same texts.
        show: called with the texts so far (not the prompts), again and again.

    Raises:
        InputError: a model of another kind, or a prompt that it cannot read.
    """
    tokenizer, prompt_format = tokenizer_of(done), expect(done.task, TextTask).prompt_format()
    if done.model.config.writes == "target":
        writer = Writer(done.model, tokenizer, sampling, jit=False)
        sources = [prompt_format.encoder_input(prompt) for prompt in prompts]
        found = writer.write(sources, tokens, seed=seed)
        texts = [best[0].text for best in found]
        show([f"\n{text}" for text in texts])
        count = [len(best[0].ids) for best in found]
        return {"prompts": list(prompts), "texts": texts, "tokens": count}
    generator = Generator(done.model, tokenizer, sampling, prompt_format.is_bidirectional)
    ids = [generator.encode(prompt_format.decoder_prompt(prompt)) for prompt in prompts]
    room = generator.room(tokens)
    cut = [max(0, len(prompt) - room) for prompt in ids]
    for number, gone in enumerate(cut, 1):
        if gone:
            say(
                f"prompt {number}: {gone} of its {gone + room} tokens are cut, the first ones: of "
                f"the context of {generator.context}, {generator.context - room} are to follow"
            )
    texts = [""] * len(prompts)
    added: list[list[int]] = [[] for _ in prompts]
    for added in generator.stream(ids, tokens, seed):
        rows = zip(ids, added, strict=True)
        texts = [text_added(tokenizer, prompt, row) for prompt, row in rows]
        show([text.rstrip("\ufffd") for text in texts])  # half a character waits for the other half
    return {
        "prompts": list(prompts),
        "texts": texts,
        "tokens": [len(row) for row in added],
        "prompt_tokens_cut": cut,
    }
