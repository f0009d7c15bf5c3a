# SPDX-License-Identifier: MIT
"""What quantization knows of particular model classes, as data: heads, fusable activations, weights read directly.

Nothing here imports transformers: classes are recognised by their qualified name, and only exactly (a subclass may
have changed ``forward``). A model of an unknown family is still quantized, without activation fusion.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from fastformers.kernels import Activation
from fastformers.modules.activations import activation_name

__all__ = ["FAST_PATHS", "activation_of", "fusable_activation", "is_head", "reads_weight_of"]

#: Names of modules that turn the encoder's output into an answer; a module is a head when any part of its name is.
HEAD_NAMES = frozenset(
    {
        "classifier",
        "cls",
        "discriminator_predictions",
        "generator_lm_head",
        "generator_predictions",
        "head",
        "lm_head",
        "pooler",
        "pre_classifier",
        "predictions",
        "qa_outputs",
        "score",
        "sequence_summary",
        "vocab_projector",
        "vocab_transform",
    }
)

_INTERMEDIATES = {
    "bert": "BertIntermediate",
    "camembert": "CamembertIntermediate",
    "data2vec": "Data2VecTextIntermediate",
    "deberta": "DebertaIntermediate",
    "deberta_v2": "DebertaV2Intermediate",
    "electra": "ElectraIntermediate",
    "ernie": "ErnieIntermediate",
    "mpnet": "MPNetIntermediate",
    "roberta": "RobertaIntermediate",
    "roberta_prelayernorm": "RobertaPreLayerNormIntermediate",
    "xlm_roberta": "XLMRobertaIntermediate",
    "xlm_roberta_xl": "XLMRobertaXLIntermediate",
}

#: (package, class) -> (linear, activation): attributes of which the second is applied to the first's output, and
#: to nothing else, in ``forward``.
FUSIONS: dict[tuple[str, str], tuple[str, str]] = {
    **{
        (f"transformers.models.{family}", name): ("dense", "intermediate_act_fn")
        for family, name in _INTERMEDIATES.items()
    },
    ("transformers.models.distilbert", "FFN"): ("lin1", "activation"),
    ("torch.nn.modules.transformer", "TransformerEncoderLayer"): ("linear1", "activation"),
    ("torch.nn.modules.transformer", "TransformerDecoderLayer"): ("linear1", "activation"),
}

#: Classes of torch whose fused inference path reads the weights of their linears: (class, attribute, value that
#: switches the path off and changes nothing else).
FAST_PATHS: tuple[tuple[type[nn.Module], str, Any], ...] = (
    (nn.TransformerEncoderLayer, "activation_relu_or_gelu", 0),
    (nn.TransformerEncoder, "use_nested_tensor", False),
)

# T5 and its relatives look at wo.weight.dtype in every call, which a packed layer can only answer slowly.
_READS_WO = re.compile(r"Dense(Gated)?ActDense$")


def is_head(name: str, encoder_prefix: str | None) -> bool:
    """Whether a module belongs to the head.

    Args:
        name: the module's name in its model.
        encoder_prefix: name of the encoder inside the model, where the model says it; all else is head.
    """
    if encoder_prefix is not None and not f"{name}.".startswith(f"{encoder_prefix}."):
        return True
    return not HEAD_NAMES.isdisjoint(name.split("."))


def reads_weight_of(parent: nn.Module, attribute: str) -> bool:
    """Whether ``parent`` uses ``parent.<attribute>.weight`` itself instead of calling the layer."""
    if attribute == "out_proj" and isinstance(parent, nn.MultiheadAttention):
        return True
    return attribute == "wo" and _READS_WO.search(type(parent).__name__) is not None


def activation_of(value: object) -> Activation | None:
    """Which fusable activation a module or function is, if any."""
    name = activation_name(value)
    return name if name == "relu" or name == "gelu" or name == "gelu_tanh" else None


def fusable_activation(parent: nn.Module, attribute: str) -> str | None:
    """Name of the attribute of ``parent`` that is applied to the output of ``parent.<attribute>`` and to nothing else.

    Args:
        parent: module that holds the linear.
        attribute: the linear's name in it.
    """
    if type(parent) is nn.Sequential:
        names = list(parent._modules)
        following = names[names.index(attribute) + 1 :]
        return following[0] if following else None
    pair = FUSIONS.get(_package_and_name(type(parent)))
    return pair[1] if pair is not None and pair[0] == attribute else None


def _package_and_name(kind: type) -> tuple[str, str]:
    module = kind.__module__
    package = module.rpartition(".")[0] if module.startswith("transformers.models.") else module
    return package, kind.__qualname__
