"""KerasHub's backbones as its users train them: `compile`, and Keras' own compiled train function.

In bfloat16 by Keras' policy, or by TensorFlow's graph optimizer, which casts the products of a
float32 model (oneDNN's automatic mixed precision).
"""

from collections.abc import Callable
from typing import Any

import keras
import keras_hub
import tensorflow as tf

from benchmarks.work import CLASSES, WORKS, Work, tensors

models: Any = keras_hub.models
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "grappler": "float32"}


def contestant(work: str, xla: bool = False, precision: str = "float32") -> Callable[[], Any]:
    """Return a function that takes one step."""
    given = WORKS[work]
    if precision == "grappler":
        options = {"auto_mixed_precision_onednn_bfloat16": True}
        tf.config.optimizer.set_experimental_options(options)
    keras.config.set_dtype_policy(POLICIES[precision])
    model, features = BUILDERS[given.kind](given, tensors(given.arrays(), tf.constant))
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.01, beta_2=0.98, global_clipnorm=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = [keras.metrics.SparseCategoricalAccuracy()]
    model.compile(optimizer, loss, metrics=metrics, jit_compile=xla)
    targets = tf.constant(given.arrays()["targets"], tf.int32)
    steps = iter(tf.data.Dataset.from_tensors((features, targets)).repeat())
    model.make_train_function()
    # The loss is read each step, as our engine reads it.
    return lambda: float(model.train_function(steps)["loss"])


def _sizes(config):
    return {
        "num_layers": config.depth,
        "num_heads": config.heads,
        "hidden_dim": config.dim,
    }


def _masked(work: Work, given: dict[str, Any]):
    config: Any = work.config
    backbone = models.BertBackbone(
        vocabulary_size=config.vocab_size,
        intermediate_dim=config.hidden_dim,
        dropout=config.dropout,
        max_sequence_length=config.max_length,
        **_sizes(config),
    )
    head = keras_hub.layers.MaskedLMHead(
        token_embedding=backbone.token_embedding, intermediate_activation="gelu"
    )
    places = keras.Input((None,), dtype="int32", name="mask_positions")
    logits = head(backbone(backbone.input)["sequence_output"], mask_positions=places)
    tokens = given["tokens"]
    features = {"token_ids": tokens, "segment_ids": tf.zeros_like(tokens)}
    features |= {"padding_mask": tf.ones_like(tokens), "mask_positions": given["places"]}
    return keras.Model({**backbone.input, "mask_positions": places}, logits), features


def _causal(work: Work, given: dict[str, Any]):
    config: Any = work.config
    backbone = models.GPT2Backbone(
        vocabulary_size=config.vocab_size,
        intermediate_dim=config.hidden_dim,
        dropout=config.dropout,
        max_sequence_length=config.max_length,
        **_sizes(config),
    )
    logits = backbone.token_embedding(backbone(backbone.input), reverse=True)
    tokens = given["tokens"]
    features = {"token_ids": tokens, "padding_mask": tf.ones_like(tokens)}
    return keras.Model(backbone.input, logits), features


def _pairs(work: Work, given: dict[str, Any]):
    config: Any = work.config
    side = config.encoder
    backbone = models.T5Backbone(
        vocabulary_size=side.vocab_size,
        intermediate_dim=side.hidden_dim,
        key_value_dim=side.head_width(),
        dropout=side.dropout,
        activation="relu",
        use_gated_activation=side.gated,
        layer_norm_epsilon=side.norm_epsilon,
        **_sizes(side),
    )
    hidden = backbone(backbone.input)["decoder_sequence_output"]
    logits = backbone.token_embedding(hidden * side.dim**-0.5, reverse=True)
    source, target = given["tokens"], given["target_tokens"]
    features = {"encoder_token_ids": source, "encoder_padding_mask": tf.ones_like(source)}
    features |= {"decoder_token_ids": target, "decoder_padding_mask": tf.ones_like(target)}
    return keras.Model(backbone.input, logits), features


def _images(work: Work, given: dict[str, Any]):
    config: Any = work.config
    backbone = models.ViTBackbone(
        image_shape=(config.height, config.width, config.channels),
        patch_size=config.patch,
        mlp_dim=config.hidden_dim,
        dropout_rate=config.dropout,
        attention_dropout=config.attention_dropout,
        **_sizes(config),
    )
    logits = keras.layers.Dense(CLASSES, dtype="float32")(backbone(backbone.input)[:, 0])
    return keras.Model(backbone.input, logits), given["images"]


BUILDERS = {"masked": _masked, "causal": _causal, "pairs": _pairs, "images": _images}
