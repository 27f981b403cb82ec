"""Memory of a training step on one device, by arithmetic.

With n parameters on m model shards, in bytes:

    total = (16 + c) n / m + max(A + L, 4 n / m)

16 are float32 weights, gradients and the two averages of AdamW; c is 2 for the bfloat16 copies that
products read, and 0 in float32. A second buffer of gradients, 4 n / m, is there when they are
clipped, or summed over microbatches; activations A and logits L have left by then, so that it is
counted as far as it is larger than they. Each data replica holds all of this.

A block keeps for its gradient, of `a` bytes a number, at t places with s keys (compare
arXiv:2205.05198, equations 1 and 2, whose 34 s b h + 5 a s^2 b are 36 and 6 here: an island of
compilation keeps its input where they keep a mask of dropout; over m shards their 10 + 24 / m are
12 + 24 / m):

    stream       a t d            (input, norm before, result before dropout or norm) a sublayer
    attention    a 2 w (t + s)    queries, keys, values, what is pooled; w = heads times their width
    scores       a h t s          2 of them, 3 with dropout; none where attention goes by blocks
    feed-forward a t f            2 of them, 3 with a gate

Model shards divide all but the stream. With `remat` a block keeps its input alone, and one block at
a time is made again.

Recurrent models are counted likewise, by the gates and states of each step. They, shards, `remat`
and attention by blocks are arithmetic alone. Measured was the peak of TensorFlow's allocator over
three steps on a CPU (`fused`, dropout .1, vocabularies of 8,192), in MiB:

    preset      rows  places  precision   measured  by this file
    bert-mini     32     128  bfloat16         335     370
    bert-mini     64     128  bfloat16         591     649
    gpt2-mini     16     256  bfloat16         838     877
    gpt2-mini     32     256  bfloat16       1,152   1,151
    gpt2-mini     32     256  float32        1,610   1,681
    gpt2-small     2     256  bfloat16       1,945   1,921
    gpt2-small     4     256  bfloat16       1,913   2,265
    gpt2-small     4     512  bfloat16       3,016   3,418
    t5-mini       32  256+64  bfloat16       1,064   1,139
    vit-mini      64      65  bfloat16         252     258
    vit-mini     128      65  bfloat16         474     469

What is over is mostly gradients that come while activations leave, and are counted beside them, as
they are where XLA compiles the whole step. The runtime's own memory is not counted.
"""

from dataclasses import dataclass
from typing import Literal

from tfattn.models.model_config import ModelConfig
from tfattn.models.stack_config import StackConfig
from tfattn.models.step import Step

COPIES, SECOND = {"bfloat16": 2, "float32": 0}, 4  # bytes a parameter
ITEM = {"bfloat16": 2, "float32": 4}
# Of tfattn/blocks/vocabulary_loss.py: logits of a chunk, two of which were there at a time where
# that was measured. A logit costs four numbers in float32: as it is, its power, its gradient, and
# what products read of that.
AT_ONCE, CHUNKS, LOGIT = 2**24, 2, 16


@dataclass(frozen=True)
class How:
    """What decides on the memory beside model and rows."""

    shards: int = 1  # of the model
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    remat: bool = False  # whether blocks are made again for their gradient
    blocked: bool = False  # whether attention goes by blocks, without all scores at once


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    weights: float  # with their copies
    gradients: float
    optimizer: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """Return the sum."""
        return sum(vars(self).values())


def memory(config: ModelConfig, parameters: int, step: Step, how: How) -> Memory:
    """Return the memory of a training step on one device; see the equations of this file.

    Args:
        config: of the model.
        parameters: n, of all shards together.
        step: the microbatch of one data replica.
        how: it is computed.
    """
    own = parameters / how.shards
    activations, logits = step.rows * _activations(config, step, how), _logits(config, step, how)
    second = max(0.0, SECOND * own - activations - logits)
    weights = (4 + COPIES[how.precision]) * own
    return Memory(weights, 4 * own + second, 8 * own, activations, logits)


def _activations(config, step, how):
    """Return the bytes that a row keeps, and the most that a block needs beside."""
    lengths, kept, largest = config.stack_lengths(step), 0, 0
    for name, stack in config.stacks().items():
        places, memory = lengths[name]
        of_stack, at_work = _stack(stack, places, memory, how)
        kept, largest = kept + of_stack, max(largest, at_work)
    outside = ITEM[how.precision] * config.numbers_outside_stacks(step) + config.input_bytes()
    return outside + (kept + largest)


def _stack(stack: StackConfig, places, memory, how):
    """Return the bytes of a row in all blocks, and those of the block that is at work."""
    item, keys = ITEM[how.precision], max(places, memory)
    whole, split = _block(stack, places, memory, how)
    stream, block = places * stack.dim, whole + split / how.shards
    # Gradients of two arrays at a time: of scores, or of the feed-forward network.
    scores = 0 if how.blocked else stack.heads * places * keys
    beside = 2 * max(scores, places * stack.hidden_dim) / how.shards
    ends = 4 * stream  # into the first block, its dropout, the last norm and what it gives
    kept, work = stack.depth * block + ends, beside
    if how.remat:
        kept, work = (stack.depth - 1) * stream + ends, block + beside
    return item * kept, item * work


def _block(stack, places, memory, how):
    """Return the numbers that a row keeps in a block: of the stream, and what shards divide."""
    width = stack.heads * stack.head_width()
    result = stack.norm == "post" or stack.dropout > 0 or stack.layer_scale is not None
    whole = len(stack.layout) * places * stack.dim * (1 + (stack.norm == "pre") + result)
    split = 0
    for name in stack.layout:
        if name == "feedforward":
            split += places * stack.hidden_dim * (2 + stack.gated)
            continue
        keys = places if name == "self" else memory
        split += 2 * width * (places + keys)
        # By blocks: a sum for each query, in float32.
        seen = 2 if how.blocked else keys * (2 + (stack.attention_dropout > 0))
        split += stack.heads * places * seen
    return whole, split


def _logits(config, step, how):
    if not config.vocabularies():
        return LOGIT * step.rows * step.classes
    rows = step.rows * config.predicted_tokens(step) * step.told
    chunk = min(rows, max(1, AT_ONCE // config.vocab_size))
    there = min(CHUNKS * chunk, rows)
    # States that are read, in two steps before, and their gradient in float32.
    hidden = rows * config.dim * (3 * ITEM[how.precision] + 4)
    return LOGIT * there * config.vocab_size + hidden
