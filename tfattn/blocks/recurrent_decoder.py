"""What writes a target recurrently (D2L 10.7 and 11.4).

What does not depend on the step before is made for all steps at once: the share of the tokens in
the gates of the first cell, the keys of the memory, and the readout. Tensors within are (t, b, d).
"""

from typing import Any

import keras
from keras import ops

from tfattn import backend
from tfattn.blocks.cells import CELLS, Bound, bound, cell_of, present
from tfattn.mechanisms import nested
from tfattn.mechanisms.attention import Attention
from tfattn.mechanisms.dropout import Dropout
from tfattn.mechanisms.projection import Projection
from tfattn.types import Tensor

States = tuple[Tensor, ...]


@keras.saving.register_keras_serializable(package="tfattn")
class RecurrentDecoder(keras.layers.Layer):
    """Recurrent layers that write a target, with a context c of the source at each step or without.

        c_i = attention(s_{i-1}, memory)        s_i = cell([E y_{i-1}; c_i], s_{i-1})

    where s is the state of the last layer, and cells above the first read the one below. The output
    is s_i (D2L 11.4), or the maxout of arXiv:1409.0473, A.2.2: the larger of each two columns of
    U s_{i-1} + V E y_{i-1} + C c_i.

    Args:
        dim: width d of the input.
        hidden_dim: width u of the states.
        depth: layers.
        cell: "gru" or "lstm".
        context_dim: width m of the context; 0 = none.
        attention: makes the context of each step; None = one context serves all steps.
        attention_dim: width to which states and memory are projected before they are compared;
            None = compared as they are.
        maxout: whether the output is that, of width u / 2.
        dropout: between layers, and of the output (arXiv:1409.2329).
        initializer: of the kernels; recurrent ones start orthogonal.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        depth: int = 1,
        cell: str = "gru",
        context_dim: int = 0,
        attention: Attention | None = None,
        attention_dim: int | None = None,
        maxout: bool = False,
        dropout: float = 0.0,
        initializer: Any = "glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.dim, self.hidden_dim, self.depth, self.cell = dim, hidden_dim, depth, cell
        self.context_dim, self.attention, self.attention_dim = context_dim, attention, attention_dim
        self.initializer = keras.initializers.get(initializer)
        own = {"dtype": self.dtype_policy}
        self.cells = [
            cell_of(cell, hidden_dim, self.initializer.clone(), self.dtype_policy, f"cell_{index}")
            for index in range(depth)
        ]
        self.query = self.key = self.maxout = None
        if attention_dim is not None:
            self.query, self.key = (
                Projection(
                    (width,),
                    (attention_dim,),
                    initializer=self.initializer.clone(),
                    use_bias=False,
                    name=n,
                    **own,
                )
                for width, n in ((hidden_dim, "query"), (context_dim, "key"))
            )
        if maxout:
            self.maxout = keras.layers.Dense(
                hidden_dim, kernel_initializer=self.initializer.clone(), name="maxout", **own
            )
        self.between = Dropout(dropout, name="between", **own)
        self.dropout = Dropout(dropout, name="dropout", **own)

    def build(self, *shapes):
        """Create every cell, the attention, and the readout."""
        for index, cell in enumerate(self.cells):
            cell.build((None, self.hidden_dim if index else self.dim + self.context_dim))
        for layer in (self.attention, self.query, self.key):
            if layer is not None:
                layer.build()
        if self.maxout is not None:
            self.maxout.build((None, None, self.hidden_dim + self.dim + self.context_dim))
        self.built = True

    def remember(self, memory: Tensor, segments: Tensor, end: Tensor) -> tuple[Tensor, ...]:
        """Return what the steps read of a source, made once for all of them.

        With attention the memory (b, s, m), its keys (b, s, 1, a), and segments (b, s) that are 1
        where there is a token; without, the context (b, m) where there is one.

        Args:
            memory: (b, s, m).
            segments: (b, s), 0 = padding.
            end: (b, m), what the encoder ended with.
        """
        if self.attention is None:
            return (end,) if self.context_dim else ()
        keys = memory if self.key is None else self.key(memory)
        keys = self.attention.score.keys(keys[:, :, None])
        return memory, keys, ops.cast(segments != 0, "int32")

    def call(
        self,
        x: Tensor,
        states: States,
        memory: tuple[Tensor, ...] = (),
        segments: Tensor | None = None,
        training: bool | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Map (b, t, d) to the outputs (b, t, u), or (b, t, u / 2), and the states behind them.

        Args:
            x: (b, t, d).
            states: (b, u) of the first layer, of the second, and so on.
            memory: what `remember` returned; without an attention the context (b, m), or nothing.
            segments: (b, t), 0 = padding; default all 1.
            training: whether there is dropout.
            return_weights: also return the attention weights (b, 1, t, s), third.
        """
        cells = [bound(self.cell, cell, self.compute_dtype) for cell in self.cells]
        there, x = present(x, segments), ops.transpose(x, (1, 0, 2))
        share = cells[0].share(x)  # (t, b, gates u)
        if self.attention is None and self.context_dim:
            share = share + cells[0].share(memory[0], self.dim, biased=False)
        given = (share, there, *self._masks(share, training))
        step = self._step(cells, memory, return_weights)
        states = tuple(ops.cast(state, x.dtype) for state in states)
        before = self._last(states)
        if x.shape[0] == 1:  # a loop within the loop of generation would be slower
            states, made = step(states, tuple(a[0] for a in given))
            made = tuple(a[None] for a in made)
        else:
            kept = self.attention is not None and self.maxout is not None
            made = [states[0].dtype] * (1 + kept + return_weights)
            states, made = backend.scan(step, states, given, made)
        output = made[0]
        if self.maxout is not None:
            context = memory if self.attention is None else made[1:2]
            output = _maxout(self.maxout, before, x, output, context)
        output = self.dropout(ops.transpose(output, (1, 0, 2)), training=training)
        if not return_weights:
            return output, states
        return output, states, ops.transpose(made[-1], (1, 2, 0, 3))

    def _step(self, cells: list[Bound], memory, return_weights):
        """Return one step of all layers: from the states to those after it, and what is kept."""
        own = CELLS[self.cell].states

        def step(states, now):
            share, there, *masks = now
            kept = ()
            if self.attention is not None:
                query = self._last(states)
                query = query if self.query is None else self.query(query)
                context, weights = _ask(self.attention, query, *memory)
                share = share + cells[0].share(context, self.dim, biased=False)
                kept = (context,) if self.maxout is not None else ()
                kept += (weights,) if return_weights else ()
            new = ()
            for index, cell in enumerate(cells):
                if index:
                    below = new[-own] if not masks else new[-own] * masks[index - 1]
                    share = cell.share(below)
                new += cell.move(share, states[index * own :][:own], there)
            return new, (self._last(new), *kept)

        return step

    def _last(self, states):
        """Return the output among the states of the last layer, (b, u)."""
        return states[-CELLS[self.cell].states]

    def _masks(self, share, training):
        """Return the dropout (t, b, u) of the input of each layer but the first, made beforehand.

        A generator of random numbers cannot move within a loop.
        """
        if not training or not self.between.rate:
            return ()
        ones = ops.ones((*ops.shape(share)[:2], self.hidden_dim), share.dtype)
        return tuple(self.between(ones, training=True) for _ in self.cells[1:])

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "dim": self.dim,
            "hidden_dim": self.hidden_dim,
            "depth": self.depth,
            "cell": self.cell,
            "context_dim": self.context_dim,
            "attention": nested.to_config(self.attention),
            "attention_dim": self.attention_dim,
            "maxout": self.maxout is not None,
            "dropout": self.dropout.rate,
            "initializer": keras.initializers.serialize(self.initializer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RecurrentDecoder":
        """Rebuild the layer."""
        attention = keras.saving.deserialize_keras_object(config["attention"])
        return cls(**{**config, "attention": attention})


def _ask(attention, query, memory, keys, segments):
    """Return the context (b, m) for one query (b, a) a row, and its weights (b, 1, s)."""
    pooled, weights = attention(
        query[:, None, None],
        keys,
        memory[:, :, None],
        key_segments=segments,
        prepared=True,
        return_weights=True,
    )
    return pooled[:, 0, 0], weights[:, :, 0]


def _maxout(dense, before, x, output, context):
    """Return the readout (t, b, u / 2) of the states before each step, the inputs, and contexts.

    Of contexts there is one, of each step (t, b, m) or of all (b, m), or none.
    """
    leading = ops.shape(x)[:2]
    parts = [ops.concatenate([before[None], output[:-1]], axis=0), x]
    parts += [ops.broadcast_to(c, (*leading, c.shape[-1])) for c in context]
    pairs = dense(ops.concatenate(parts, axis=-1))  # (t, b, u)
    return ops.max(ops.reshape(pairs, (*leading, dense.units // 2, 2)), axis=-1)
