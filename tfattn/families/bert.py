"""BERT (Devlin et al., arXiv:1810.04805) and its miniatures (Turc et al., arXiv:1908.08962).

Rows only: sizes, and the names that its published checkpoints use for our weights.
"""

from dataclasses import replace

from tfattn.families.format import Format, layer_norm, linear
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
HEAD = Tokens()  # what it is pretrained with

_LAYER = "bert.encoder.layer.{}."
_BLOCK = "encoder/block_{}/"


def _heads(described, shapes):
    found = []
    if shapes.get("cls.predictions.bias"):
        found.append(Tokens())
    if shape := shapes.get("cls.seq_relationship.weight"):
        found.append(Classify("next", classes=shape[0], dropout=0.0))
    if shape := shapes.get("classifier.weight"):
        found.append(Classify("classify", classes=shape[0]))
    return tuple(found)


FORMATS = (
    Format(
        model_type="bert",
        base=BASE,
        fields=(
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
        ),
        values={"activation": {"gelu_new": "gelu-tanh"}},
        renames=(
            Rename("bert.embeddings.word_embeddings.weight", "stem/tokens/embeddings"),
            Rename("bert.embeddings.token_type_embeddings.weight", "stem/types/embeddings"),
            Rename("bert.embeddings.position_embeddings.weight", "stem/positions/embeddings"),
            *layer_norm("bert.embeddings.LayerNorm", "stem/norm"),
            Rename("bert.embeddings.position_ids", None),  # 0, 1, 2, ...: a buffer of old files
            *(
                row
                for name in ("query", "key", "value")
                for row in linear(f"{_LAYER}attention.self.{name}", f"{_BLOCK}self/{name}")
            ),
            *linear(f"{_LAYER}attention.output.dense", f"{_BLOCK}self/output"),
            *layer_norm(f"{_LAYER}attention.output.LayerNorm", f"{_BLOCK}self_residual/norm"),
            *linear(f"{_LAYER}intermediate.dense", f"{_BLOCK}feedforward/expand"),
            *linear(f"{_LAYER}output.dense", f"{_BLOCK}feedforward/contract"),
            *layer_norm(f"{_LAYER}output.LayerNorm", f"{_BLOCK}feedforward_residual/norm"),
            *linear("bert.pooler.dense", "pooler"),
            *linear("cls.predictions.transform.dense", "tokens/transform"),
            *layer_norm("cls.predictions.transform.LayerNorm", "tokens/norm"),
            Rename("cls.predictions.bias", "tokens/bias"),
            Rename("cls.predictions.decoder.weight", None),  # tied to the word embeddings
            Rename("cls.predictions.decoder.bias", None),  # tied to cls.predictions.bias
            *linear("cls.seq_relationship", "next/logits"),
            *linear("classifier", "classify/logits"),
        ),
        prefix="bert.",
        bare=("embeddings.", "encoder.", "pooler."),
        heads=_heads,
        architectures={
            (): "BertModel",
            ("tokens",): "BertForMaskedLM",
            ("next", "tokens"): "BertForPreTraining",
            ("next",): "BertForNextSentencePrediction",
            ("classify",): "BertForSequenceClassification",
        },
        tokens=(HEAD,),
        required=(("position_embedding_type", "absolute"), ("is_decoder", False)),
        legacy=(("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")),
    ),
)
