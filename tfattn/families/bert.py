"""BERT (Devlin et al., arXiv:1810.04805) and its miniatures (Turc et al., arXiv:1908.08962).

Rows only: sizes, and the names that its published checkpoints use for our weights.
"""

from dataclasses import replace

from tfattn.models.config import Classify, Tokens, TransformerConfig
from tfattn.renames import Rename

BASE = TransformerConfig(dim=768, depth=12, heads=12, hidden_dim=3072, vocab_size=30_522)
# The miniatures are trained from scratch here, where the published 0.02 learns slowly: at dim 128
# a kernel of that spread shrinks its input by 0.02 * sqrt(128) = 0.23.
MINIATURE = replace(BASE, kernel_std=None)

PRESETS = {  # Table 1 of arXiv:1908.08962; table in section 3 of arXiv:1810.04805
    "bert-tiny": replace(MINIATURE, dim=128, depth=2, heads=2, hidden_dim=512),
    "bert-mini": replace(MINIATURE, dim=256, depth=4, heads=4, hidden_dim=1024),
    "bert-small": replace(MINIATURE, dim=512, depth=4, heads=8, hidden_dim=2048),
    "bert-medium": replace(MINIATURE, dim=512, depth=8, heads=8, hidden_dim=2048),
    "bert-base-uncased": BASE,
    "bert-base-cased": replace(BASE, vocab_size=28_996),
    "bert-large-uncased": replace(BASE, dim=1024, depth=24, heads=16, hidden_dim=4096),
}

FIELDS = [  # theirs in config.json, ours in TransformerConfig
    ("hidden_size", "dim"),
    ("num_hidden_layers", "depth"),
    ("num_attention_heads", "heads"),
    ("intermediate_size", "hidden_dim"),
    ("vocab_size", "vocab_size"),
    ("max_position_embeddings", "max_length"),
    ("type_vocab_size", "types"),
    ("pad_token_id", "pad_id"),
    ("layer_norm_eps", "norm_epsilon"),
    ("hidden_act", "activation"),
    ("hidden_dropout_prob", "dropout"),
    ("attention_probs_dropout_prob", "attention_dropout"),
    ("initializer_range", "kernel_std"),
]

_LAYER = "bert.encoder.layer.{}."
_BLOCK = "encoder/block_{}/"

RENAMES = [  # theirs, ours, how ("{}" = number of the layer; how = None copies)
    Rename("bert.embeddings.word_embeddings.weight", "stem/tokens/embeddings"),
    Rename("bert.embeddings.token_type_embeddings.weight", "stem/types/embeddings"),
    Rename("bert.embeddings.position_embeddings.weight", "stem/positions/embeddings"),
    Rename("bert.embeddings.LayerNorm.weight", "stem/norm/gamma"),
    Rename("bert.embeddings.LayerNorm.bias", "stem/norm/beta"),
    Rename("bert.embeddings.position_ids", None),  # 0, 1, 2, ...: a buffer of old files
    *(
        row
        for name in ("query", "key", "value")
        for row in (
            Rename(
                f"{_LAYER}attention.self.{name}.weight", f"{_BLOCK}self/{name}/kernel", "heads_in"
            ),
            Rename(
                f"{_LAYER}attention.self.{name}.bias", f"{_BLOCK}self/{name}/bias", "heads_bias"
            ),
        )
    ),
    Rename(f"{_LAYER}attention.output.dense.weight", f"{_BLOCK}self/output/kernel", "heads_out"),
    Rename(f"{_LAYER}attention.output.dense.bias", f"{_BLOCK}self/output/bias"),
    Rename(f"{_LAYER}attention.output.LayerNorm.weight", f"{_BLOCK}self_residual/norm/gamma"),
    Rename(f"{_LAYER}attention.output.LayerNorm.bias", f"{_BLOCK}self_residual/norm/beta"),
    Rename(f"{_LAYER}intermediate.dense.weight", f"{_BLOCK}feedforward/expand/kernel", "transpose"),
    Rename(f"{_LAYER}intermediate.dense.bias", f"{_BLOCK}feedforward/expand/bias"),
    Rename(f"{_LAYER}output.dense.weight", f"{_BLOCK}feedforward/contract/kernel", "transpose"),
    Rename(f"{_LAYER}output.dense.bias", f"{_BLOCK}feedforward/contract/bias"),
    Rename(f"{_LAYER}output.LayerNorm.weight", f"{_BLOCK}feedforward_residual/norm/gamma"),
    Rename(f"{_LAYER}output.LayerNorm.bias", f"{_BLOCK}feedforward_residual/norm/beta"),
    Rename("bert.pooler.dense.weight", "pooler/kernel", "transpose"),
    Rename("bert.pooler.dense.bias", "pooler/bias"),
    Rename("cls.predictions.transform.dense.weight", "tokens/transform/kernel", "transpose"),
    Rename("cls.predictions.transform.dense.bias", "tokens/transform/bias"),
    Rename("cls.predictions.transform.LayerNorm.weight", "tokens/norm/gamma"),
    Rename("cls.predictions.transform.LayerNorm.bias", "tokens/norm/beta"),
    Rename("cls.predictions.bias", "tokens/bias"),
    Rename("cls.predictions.decoder.weight", None),  # tied to the word embeddings
    Rename("cls.predictions.decoder.bias", None),  # tied to cls.predictions.bias
    Rename("cls.seq_relationship.weight", "next/logits/kernel", "transpose"),
    Rename("cls.seq_relationship.bias", "next/logits/bias"),
    Rename("classifier.weight", "classify/logits/kernel", "transpose"),
    Rename("classifier.bias", "classify/logits/bias"),
]

REQUIRED = [  # options of their config.json that have one value here
    ("position_embedding_type", "absolute"),
    ("is_decoder", False),
]

LEGACY = [  # suffixes in the first published files, as they are called now
    ("LayerNorm.gamma", "LayerNorm.weight"),
    ("LayerNorm.beta", "LayerNorm.bias"),
]

DETECT = [  # their weight, and the head that a file which has it was saved with
    ("cls.predictions.bias", lambda shape: Tokens()),
    ("cls.seq_relationship.weight", lambda shape: Classify("next", classes=shape[0], dropout=0.0)),
    ("classifier.weight", lambda shape: Classify("classify", classes=shape[0])),
]

ARCHITECTURES = {  # sorted names of the heads, and the class that reads the file
    (): "BertModel",
    ("tokens",): "BertForMaskedLM",
    ("next", "tokens"): "BertForPreTraining",
    ("next",): "BertForNextSentencePrediction",
    ("classify",): "BertForSequenceClassification",
}
