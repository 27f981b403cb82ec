"""What a stack of transformer blocks is, as data: what models of text and of images share."""

from dataclasses import dataclass
from typing import Literal

from tfattn.errors import InputError
from tfattn.mechanisms.masks import Everything, Mask, is_causal
from tfattn.spec import Spec


@dataclass(frozen=True)
class StackConfig(Spec):
    """Transformer blocks one after the other, whatever the stem below them."""

    dim: int = 128  # width d of the model
    depth: int = 2  # blocks
    heads: int = 2  # attention heads a block
    head_dim: int | None = None  # width of a head; None = dim / heads
    kv_heads: int | None = None  # heads of keys and values, shared by the others; None = heads
    hidden_dim: int = 512  # width f of the feed-forward network
    # Added to the embeddings (of the waves those of sines may come first, then those of cosines, as
    # Marian has them; or they are those of a grid), turning queries and keys, added to the scores,
    # vectors of distances, or none (of a causal text a mask tells some: arXiv:2305.19466).
    position: Literal[
        "learned",
        "sinusoidal",
        "sinusoidal-halves",
        "sinusoidal-2d",
        "rotary",
        "buckets",
        "alibi",
        "shaw",
        "none",
    ] = "learned"
    rotary_base: float = 10_000.0  # the longest wave of rotary positions is 2 pi times this
    buckets: int = 32  # of distances, where positions are such
    bucket_distance: int = 128  # from which on all share a bucket, or a vector of Shaw's
    norm: Literal["post", "pre"] = "post"  # after the residual sum, or before the sublayer
    norm_kind: Literal["layer", "layer-no-bias", "rms"] = "layer"  # arXiv:1607.06450, 1910.07467
    norm_epsilon: float = 1e-12  # added to the variance
    # Of the feed-forward network; gelu by erf, or by its tanh approximation.
    activation: Literal["gelu", "gelu-tanh", "relu", "silu"] = "gelu"
    gated: bool = False  # feed-forward with a gate beside the activation
    bias: bool = True  # of the projections and the feed-forward network
    qkv_bias: bool | None = None  # of queries, keys and values; None = as bias
    score_scale: float | None = None  # of the dot products; None = 1 / sqrt(head_dim)
    dropout: float = 0.1  # after the stem and after each sublayer
    attention_dropout: float = 0.1  # on the attention weights
    # Within the feed-forward network, and of the last hidden states (arXiv:1910.10683, 2.1).
    inner_dropout: float = 0.0
    # Share of the rows for which the last block's sublayers are left out; less in those before it
    # (stochastic depth, arXiv:1603.09382, section 3).
    drop_path: float = 0.0
    layer_scale: float | None = None  # start of a trained scale of each sublayer (arXiv:2103.17239)
    embedding_std: float = 0.02  # of new embeddings: normal, cut at two standard deviations
    # Of new kernels, likewise; None = 1 / sqrt(dim), fan-in = 1 / sqrt(rows of the kernel), and of
    # queries whose products are not scaled 1 / sqrt(head_dim) of that (T5, as released).
    kernel_std: float | Literal["fan-in"] | None = 0.02
    scaled_residual: bool = False  # kernels that write to the stream: over sqrt(2 depth)
    masks: tuple[Mask, ...] = (Everything(),)  # tiled over the depth
    # Of a block; "cross" asks what the encoder read.
    layout: tuple[Literal["self", "cross", "feedforward"], ...] = ("self", "feedforward")

    def __post_init__(self):
        super().__post_init__()
        self._check_sizes("dim", "depth", "heads", "hidden_dim")
        if self.kv_heads is not None and (self.kv_heads < 1 or self.heads % self.kv_heads):
            self._refuse("kv_heads", f"a divisor of the {self.heads} heads")
        if self.head_dim is None and self.dim % self.heads:
            raise InputError(
                f"{type(self).__name__}.dim: expected a multiple of heads. "
                f"Received: dim={self.dim}, heads={self.heads}."
            )
        if self.position == "rotary" and self.head_width() % 2:
            self._refuse("heads", "an even width of a head for rotary positions")
        if self.position == "buckets" and not 4 <= self.buckets <= 2 * self.bucket_distance:
            self._refuse("buckets", "4 to twice the bucket_distance")
        for field in ("dropout", "attention_dropout", "inner_dropout", "drop_path"):
            if not 0 <= getattr(self, field) < 1:
                self._refuse(field, "a share from 0 to below 1")
        for field in ("masks", "layout"):
            if not getattr(self, field):
                self._refuse(field, "at least one")
        if len(set(self.layout)) < len(self.layout):
            self._refuse("layout", "different names")  # a name is the path of the weights
        if self.head_dim is not None and self.head_dim < 1:
            self._refuse("head_dim", "at least 1")
        for field in ("embedding_std", "kernel_std"):
            value = getattr(self, field)
            if isinstance(value, int | float) and value < 0:
                self._refuse(field, "0 or more")

    def _check_sizes(self, *names):
        for field in names:
            if getattr(self, field) < 1:
                self._refuse(field, "at least 1")

    def _refuse(self, field, expected):
        received = getattr(self, field)
        kind = type(self).__name__
        raise InputError(f"{kind}.{field}: expected {expected}. Received: {received!r}.")

    def stack_count(self) -> int:
        """Return the exact number of parameters of the blocks, and of what the stack adds."""
        scale = self.dim * (self.layer_scale is not None)
        norm = self.norm_count()
        block = sum(sum(self._sublayer(name)) + norm + scale for name in self.layout)
        total = self.depth * block + (norm if self.norm == "pre" else 0)
        if self.position == "buckets":
            total += self.buckets * self.heads
        if self.position == "shaw":
            total += self.depth * 2 * (2 * self.bucket_distance + 1) * self.head_width()
        return total

    def norm_count(self) -> int:
        """Return the number of parameters of a norm."""
        return self.dim * (2 if self.norm_kind == "layer" else 1)

    def is_causal(self) -> bool:
        """Return whether no token sees what follows it, so that text can be written."""
        return all(map(is_causal, self.masks))

    def head_width(self) -> int:
        """Return the width of a head."""
        return self.head_dim or self.dim // self.heads

    def has_qkv_bias(self) -> bool:
        """Return whether queries, keys and values have biases."""
        return self.bias if self.qkv_bias is None else self.qkv_bias

    def _sublayer(self, name):
        """Return the numbers of a sublayer's kernels, and those of its biases."""
        d = self.dim
        if name in ("self", "cross"):
            rows = self.heads * self.head_width()
            columns = rows + 2 * self.head_width() * (self.kv_heads or self.heads)  # of q, k and v
            return d * columns + rows * d, columns * self.has_qkv_bias() + d * self.bias
        columns = self.hidden_dim * (2 if self.gated else 1)
        return d * columns + self.hidden_dim * d, (columns + d) * self.bias

    def products_per_place(self, length: int) -> float:
        """Return the multiplications of the blocks' forward pass for one of so many places."""
        kernels = self.depth * sum(self._sublayer(name)[0] for name in self.layout)
        pairs = self.layout.count("self") * self.depth * 2 * length
        return kernels + pairs * self.heads * self.head_width()
