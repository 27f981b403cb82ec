"""Cross entropy over a vocabulary without the logits of all rows at once.

    loss = sum_i w_i (log sum_v exp(z_iv) - z_iy)        z = h E^T + b, y the target, w the weight
    dz   = w (softmax(z) - onehot(y))        dh = dz E        dE = dz^T h        db = sum_i dz_i

With label smoothing s (arXiv:1512.00567, section 7) the target is a distribution,
(1 - s) onehot(y) + s / V, in place of onehot(y): of z_iy there remain (1 - s) z_iy + s mean_v z_iv.

Rows are taken in chunks, and where a gradient is wanted it is made beside the loss, while the
logits of the chunk are there: the products are those of the plain way (where the last chunk is not
full, it reads some rows once more, with weight 0). What is
kept is as large as h, E and b, whatever the number of rows. (arXiv:2411.09009 goes over chunks of
the vocabulary instead, and makes the logits a second time for the gradient.)

Where rows are split over devices, a chunk has as many of each device: one of rows beside each other
would be gathered, and made by all of them.
"""

import functools

import keras
from keras import ops

from tfattn import backend, ways
from tfattn.types import Tensor

AT_ONCE = 2**24  # logits of a chunk: 64 MiB in float32


def vocabulary_loss(
    hidden: Tensor,
    matrix: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    weights: Tensor,
    training: bool = False,
    at_once: int = AT_ONCE,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return the weighted sums of cross entropy and of hits (the largest logit is the target's).

    Args:
        hidden: (n, d), h.
        matrix: (v, d), E; products are taken in the type of `hidden`, softmax and sums in float32.
        bias: (v,), b, or None.
        targets: (n,) integers, y.
        weights: (n,), w.
        training: whether the loss has a gradient; the hits have none.
        at_once: logits of a chunk at most, or of those of all lanes together.
        smoothing: s.
    """
    rows = at_once // ways.current().lanes // matrix.shape[0]
    targets, weights = ops.cast(targets, "int32"), ops.cast(weights, "float32")
    # Values, not variables: of a variable TensorFlow wants a gradient by another way.
    given = [ops.copy(x) for x in (hidden, matrix, bias) if x is not None]
    if not training:
        sums = _chunked(given, targets, weights, rows, False, smoothing)[0]
        return sums[0], sums[1]

    @ops.custom_gradient
    def differentiable(*given):
        sums, *gradients = _chunked(given, targets, weights, rows, True, smoothing)

        def gradient(*upstream):
            of_loss = upstream[0][0]
            return tuple(
                ops.cast(of_loss * g, x.dtype) for g, x in zip(gradients, given, strict=True)
            )

        return sums, gradient

    sums = differentiable(*given)
    return sums[0], sums[1]


def _chunked(given, targets, weights, rows, gradient, smoothing):
    """Return the two sums, and where asked for the gradients of the loss by `given`, float32."""
    hidden, count = given[0], ops.shape(given[0])[0]
    table = ops.cast(given[1], hidden.dtype)
    rest = given[2:]
    rows, known = max(rows, 1), isinstance(count, int)
    devices = _devices(count)
    if known and count <= rows * devices:
        return _chunk(hidden, table, rest, targets, weights, gradient, smoothing)
    if devices > 1:
        return _striped(hidden, table, rest, targets, weights, rows, devices, gradient, smoothing)
    rows = rows if known else ops.minimum(rows, count)  # XLA wants a number where there is one
    row = ops.arange(rows, dtype="int32")

    def add(i, sums, *so_far):
        # The last chunk begins early enough to be whole; what was there before has no weight now.
        start = ops.minimum(i * rows, count - rows)
        h, y, w = (
            ops.slice(x, (start, *(0 for _ in x.shape[1:])), (rows, *x.shape[1:]))
            for x in (hidden, targets, weights)
        )
        w = ops.where(start + row < i * rows, 0.0, w)
        more, *gradients = _chunk(h, table, rest, y, w, gradient, smoothing)
        if gradient:
            place, shape = (start, 0), ops.shape(h)
            first = ops.slice(so_far[0], place, shape) + gradients[0]
            so_far = (
                ops.slice_update(so_far[0], place, first),
                *(a + b for a, b in zip(so_far[1:], gradients[1:], strict=True)),
            )
        return (i + 1, sums + more, *so_far)

    zeros = [ops.zeros(ops.shape(x), "float32") for x in given] if gradient else []
    start = (ops.zeros((), "int32"), ops.zeros((2,), "float32"), *zeros)
    return ops.while_loop(lambda i, *_: i * rows < count, add, start)[1:]


def _devices(count):
    """Return over how many devices so many rows are split."""
    distribution = keras.distribution.distribution()
    if distribution is None or not isinstance(count, int):
        return 1
    replicas = distribution.num_model_replicas
    return 1 if count % replicas else replicas


def _striped(hidden, table, bias, targets, weights, rows, devices, gradient, smoothing):
    """Return what _chunked does, of chunks that are each of one row in so many, of all devices."""
    count, own = hidden.shape[0], hidden.shape[0] // devices
    chunks = next(n for n in range(-(-own // rows), own + 1) if own % n == 0)

    def apart(x):  # (chunks, rows, ...)
        return ops.moveaxis(ops.reshape(x, (count // chunks, chunks, *x.shape[1:])), 1, 0)

    def add(carried, now):
        h, y, w = now
        sums, *gradients = _chunk(h, table, bias, y, w, gradient, smoothing)
        own = (sums, *gradients[1:])
        return tuple(a + b for a, b in zip(carried, own, strict=True)), tuple(gradients[:1])

    zeros = [ops.zeros(ops.shape(x), "float32") for x in (table, *bias)] if gradient else []
    start, given = (ops.zeros((2,), "float32"), *zeros), map(apart, (hidden, targets, weights))
    (sums, *rest), made = backend.scan(add, start, tuple(given), ["float32"] * gradient)
    by_hidden = [ops.reshape(ops.moveaxis(x, 0, 1), hidden.shape) for x in made]
    return (sums, *by_hidden, *rest)


def _chunk(hidden, table, bias, targets, weights, gradient, smoothing):
    """Return the sums of a chunk, and its gradients, in float32."""
    logits = ops.matmul(hidden, ops.transpose(table))  # (n, v)
    if not gradient:
        return (_sums(smoothing)(logits, *bias, targets, weights),)
    sums, by_logits, *by_bias = _sums_and_gradient(smoothing)(logits, *bias, targets, weights)
    found = [ops.matmul(by_logits, table), ops.matmul(ops.transpose(by_logits), hidden)]
    return (sums, *(ops.cast(x, "float32") for x in found), *by_bias)


@functools.cache
def _sums(smoothing):
    """Return what gives the loss and the hits, (2,)."""

    def loss_sums(logits, *rest):
        return _parts(smoothing, logits, *rest)[0]

    return backend.compiled(loss_sums)


@functools.cache
def _sums_and_gradient(smoothing):
    """Return what gives loss and hits, (2,), and the gradient of the loss by the logits (n, v)."""

    def loss_and_gradient(logits, *rest):
        sums, is_target, shares, weights = _parts(smoothing, logits, *rest)
        wanted = ops.cast(is_target, "float32")
        if smoothing:
            wanted = (1 - smoothing) * wanted + smoothing / logits.shape[1]
        by_logits = (shares - wanted) * weights[:, None]
        *bias, _, _ = rest
        by_bias = [backend.column_sums(by_logits) for _ in bias]
        return sums, ops.cast(by_logits, logits.dtype), *by_bias

    return backend.compiled(loss_and_gradient)


def _parts(smoothing, raw, *rest):
    """Return the sums, which logit is the target's, the softmax, and the weights."""
    *bias, targets, weights = rest
    logits = ops.cast(raw, "float32")
    for b in bias:
        logits = logits + b
    columns, targets = ops.arange(logits.shape[1], dtype="int32")[None], targets[:, None]
    is_target = columns == targets
    largest = ops.max(logits, axis=1, keepdims=True)
    total = ops.sum(ops.exp(logits - largest), axis=1, keepdims=True)
    own = (_picked(logits, is_target, raw, bias, targets) - largest)[:, 0]
    wanted = own
    if smoothing:
        wanted = (1 - smoothing) * own + smoothing * ops.mean(logits - largest, axis=1)
    # Of several largest ones the first is said, as by argmax.
    is_said = (own >= 0) & ~ops.any((logits == largest) & (columns < targets), axis=1)
    norm = ops.log(total)
    loss = ops.sum((norm[:, 0] - wanted) * weights)
    hits = ops.sum(ops.cast(is_said, "float32") * weights)
    return ops.stack([loss, hits]), is_target, ops.exp(logits - largest - norm), weights


def _picked(logits, is_target, raw, bias, targets):
    """Return the logits (n, 1) of the targets.

    Where islands are compiled they are looked up, which spares a pass over all. Elsewhere the
    vocabulary may be split over devices, each of which can add up its own.
    """
    if not backend.is_fused():
        return ops.sum(ops.where(is_target, logits, 0.0), axis=1, keepdims=True)
    known = ops.clip(targets, 0, logits.shape[1] - 1)  # one without weight may be any number
    picked = ops.cast(ops.take_along_axis(raw, known, axis=1), "float32")
    return sum((ops.take(b, known) for b in bias), picked)
