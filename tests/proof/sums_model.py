"""The model of the domain of sums, on the public parts of tfattn."""

import keras
from sums_spec import Digits, TableConfig

from tfattn.models.builder import build_head_layers
from tfattn.models.described import DescribedModel
from tfattn.models.model_config import HeadInputs


class TableModel(DescribedModel):
    """A hidden layer on the columns, and heads."""

    kind = TableConfig

    def __init__(self, config, heads, policy, head_layers):
        super().__init__(config, heads, dtype=policy, name="table")
        self.hidden = keras.layers.Dense(config.dim, "relu", dtype=policy, name="encoder")
        self.dropout = keras.layers.Dropout(config.dropout, dtype=policy)
        self.head_layers = head_layers

    def build(self, *shapes):
        self.hidden.build((None, self.config.columns))
        self.dropout.build((None, self.config.dim))
        self.build_heads()
        self.built = True

    def call(self, features, training=None):
        hidden = self.dropout(self.hidden(features["numbers"]), training=training)
        return self.answers(hidden, HeadInputs(features), training)


class DigitsLayer(keras.layers.Layer):
    """A matrix for all digits at once."""

    def __init__(self, places: int, **kwargs):
        super().__init__(**kwargs)
        self.places = places
        self.dense = keras.layers.Dense(places * 11, dtype=self.dtype_policy, name="dense")

    def build(self, shape):
        self.dense.build((None, shape[-1]))
        self.built = True

    def call(self, hidden):
        return keras.ops.reshape(self.dense(hidden), (-1, self.places, 11))


def build_table_model(config: TableConfig, heads: tuple, policy) -> TableModel:
    return TableModel(config, heads, policy, build_head_layers(config, heads, policy))


def digits_layer(config: TableConfig, head: Digits, **kw) -> DigitsLayer:
    return DigitsLayer(head.places, **kw)
