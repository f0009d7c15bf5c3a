# SPDX-License-Identifier: MIT
"""Configurations of every family of transformers that the package knows, in BERT's words, and random weights."""

from __future__ import annotations

from typing import Any

from torch import nn

#: Family -> prefix of transformers' classes.
PREFIXES = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
    "distilbert": "DistilBert",
    "electra": "Electra",
    "mpnet": "MPNet",
    "modernbert": "ModernBert",
}
_MODERNBERT_TOKENS = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
#: BERT's words -> a family's own.
_RENAMED = {
    "distilbert": {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
    },
    "modernbert": {"hidden_act": "hidden_activation"},
}


def family_config(family: str, **arguments: Any) -> Any:
    """Makes a configuration.

    Args:
        family: key of ``PREFIXES``.
        arguments: of the class, those that families call by several names as BERT does. ModernBERT's special tokens lie
            outside a small vocabulary, so they get ids below 4 unless they are given.
    """
    import transformers

    if family == "modernbert":
        arguments = {**_MODERNBERT_TOKENS, **arguments}
    names = _RENAMED.get(family, {})
    config_class = getattr(transformers, f"{PREFIXES[family]}Config")
    return config_class(**{names.get(name, name): value for name, value in arguments.items()})


def randomize_(model: nn.Module) -> None:
    """Gives every parameter values of a trained model's order, biases and norms included."""
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.weight.numel():
            nn.init.normal_(module.weight, std=1.2 * module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.7)
        elif isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, mean=1.0, std=0.2)
        if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.2)
