"""Model parallelism: which axis of each weight is split, chosen by the path of the weight.

After Megatron-LM (arXiv:1909.08053, section 3): of two products in a row the first kernel is split
by columns and the second by rows, so that what is between them (the heads of an attention, the
hidden units of a feed-forward network) stays on its device, and one sum over the devices joins
them. Optimizers keep their averages as the weights are kept, and the batch is split over the other
axis of the mesh. There are no other layers for it: compilers make the sums from the layouts.
"""

from collections.abc import Sequence

import keras
import numpy as np

from tfattn import backend
from tfattn.errors import InputError
from tfattn.models.model_config import Head, ModelConfig
from tfattn.models.shards import check_shards, divides_vocabulary

BATCH, MODEL = "batch", "model"  # axes of the mesh
COLUMNS, ROWS, ALONG = (None, MODEL), (MODEL, None), (MODEL,)

# Regular expressions that whole paths match, one each at most; what matches none is on each device:
# norms, positions, biases that are added to sums, poolers and classifiers.
BLOCKS: dict[str, tuple[str | None, ...]] = {
    r"(.*/)?(self|cross)/(query|key|value)/kernel": COLUMNS,  # heads
    r"(.*/)?(self|cross)/(query|key|value)/bias": ALONG,
    r"(.*/)?(self|cross)/output/kernel": ROWS,
    r"(.*/)?feedforward/(expand|gate)/kernel": COLUMNS,  # hidden units
    r"(.*/)?feedforward/(expand|gate)/bias": ALONG,
    r"(.*/)?feedforward/contract/kernel": ROWS,
}
TOKENS = r"(.*/)?tokens/embeddings"  # of stems, and of an untied head


def rules(config: ModelConfig, shards: int) -> dict[str, tuple[str | None, ...]]:
    """Return which axes are split, by the regular expression that a path matches.

    Embeddings are split by rows, so that each device has the logits of its part of the vocabulary
    and of the others' no more than sums (arXiv:1909.08053, section 3). Megatron-LM adds rows until
    the vocabulary divides. Published ones stay as they are: where they do not divide (50,257), the
    width is split in place of it, which always divides, and logits are summed over devices.

    Args:
        config: of the model.
        shards: over which it is split.
    """
    return {**BLOCKS, TOKENS: ROWS if divides_vocabulary(config, shards) else COLUMNS}


def model_parallel(
    config: ModelConfig, *heads: Head, shards: int, devices: Sequence[str] | None = None
) -> keras.distribution.ModelParallel:
    """Return the distribution under which a model is built and trained in shards.

        with tfattn.model_parallel(config, head, shards=2).scope():
            model = tfattn.build(config, head)

    Devices beside each other in the list share a model, replicas of which share the batch: four
    devices and two shards are two replicas. Models, optimizers and what trains them are made in
    the scope; `fit` splits batches by itself, and a loop of one's own does so by
    `keras.distribution.distribute_tensor` and the distribution's `get_data_layout`.

    Args:
        config: of the model.
        *heads: that sit on it.
        shards: over how many devices each replica is split; a divisor of their number.
        devices: such as "gpu:0"; default all, of all hosts.

    Raises:
        InputError: a backend on which nothing would be split, or sizes that shards do not divide.
    """
    backend.check_distribution()
    check_shards(config, *heads, shards=shards)
    every = list(keras.distribution.list_devices() if devices is None else devices)
    if not every or len(every) % shards:
        raise InputError(
            f"shards: expected a divisor of the {len(every)} devices. Received: {shards}."
        )
    shape = (len(every) // shards, shards)
    mesh = keras.distribution.DeviceMesh(shape, [BATCH, MODEL], np.array(every))
    layouts = keras.distribution.LayoutMap(mesh)
    for pattern, axes in rules(config, shards).items():
        layouts[pattern] = axes
    return keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name=BATCH)
