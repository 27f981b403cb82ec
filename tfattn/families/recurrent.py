"""Recurrent encoder-decoders: seq2seq (arXiv:1409.3215), Bahdanau's attention (arXiv:1409.0473).

`d2l-*` are the models of D2L 10.7 and 11.4. `bahdanau-lstm` and `bahdanau-dot` are what exercises 1
and 2 of 11.4 ask for. The GRU is Keras', with the reset gate behind the product. Vocabularies are
the user's, but for the two published sizes. Rows only.
"""

from dataclasses import replace

from tfattn.models.config import Tokens
from tfattn.models.recurrent_config import RecurrentConfig

SEQ2SEQ = RecurrentConfig(  # arXiv:1409.3215, section 2
    cell="lstm", attention=None, attention_dim=None, reversed_source=True
)
BAHDANAU = RecurrentConfig(bidirectional=True, dropout=0.2)  # arXiv:1409.0473, section 3
D2L = RecurrentConfig(depth=2, dropout=0.2)  # D2L 10.7 and 11.4

PRESETS = {
    "seq2seq-tiny": replace(SEQ2SEQ, dim=64, hidden_dim=64, depth=2),
    "seq2seq-mini": replace(SEQ2SEQ, depth=2, dropout=0.2),
    "bahdanau-tiny": replace(BAHDANAU, dim=64, hidden_dim=64, attention_dim=64, dropout=0.0),
    "bahdanau": BAHDANAU,
    "bahdanau-lstm": replace(BAHDANAU, cell="lstm"),
    "bahdanau-dot": replace(BAHDANAU, attention="scaled-dot"),
    "d2l-gru": replace(D2L, attention=None, attention_dim=None, repeat_context=True),
    "d2l-bahdanau": D2L,
    "rnnsearch-50": RecurrentConfig(  # arXiv:1409.0473, sections 4.1 and 4.2, A.2.3 and B.1
        dim=620,
        hidden_dim=1000,
        bidirectional=True,
        attention_dim=1000,
        readout="maxout",
        vocab_size=30_000,
        max_length=50,
        embedding_std=0.01,
        kernel_std=0.01,
    ),
    "sutskever-seq2seq": replace(  # arXiv:1409.3215, section 3.4
        SEQ2SEQ,
        dim=1000,
        hidden_dim=1000,
        depth=4,
        vocab_size=80_000,
        source_vocab_size=160_000,
        embedding_std=0.046,  # that of uniform numbers from -0.08 to 0.08
        kernel_std=0.046,
    ),
}
HEAD = Tokens(transform=False, tied=False)


def head(name: str) -> Tokens:
    """Return the head over the vocabulary of a preset."""
    return HEAD


FORMATS = ()  # no checkpoints of it are published
