# SPDX-License-Identifier: MIT
"""CTranslate2: INT8 weights, dynamic INT8 activations; computes no padding for batches given as lists.

It runs BERT's encoder and pooler. The classifier, which it has no place for, is one small product in numpy, timed with
the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastformers.benchmarking.engines.batch import Batch, Floats
from fastformers.benchmarking.engines.model_source import ModelSource, kept
from fastformers.errors import UnsupportedModelError

__all__ = ["load"]

_HEAD_FILE = "classifier.npz"
_CONVERTED = "ctranslate2"
_CLASSIFIER, _ENCODER = "BertForSequenceClassification", "BertModel"


def load(source: ModelSource, threads: int) -> Callable[[Batch], Callable[[], object]]:
    """Loads the encoder with INT8 computation.

    Raises:
        UnsupportedModelError: the model is not one of those two.
    """
    import ctranslate2

    folder = kept(source.workspace / _CONVERTED, lambda empty: _convert(source, empty))
    encoder = ctranslate2.Encoder(
        str(folder), device="cpu", compute_type="int8", inter_threads=1, intra_threads=threads
    )
    head = dict(np.load(folder / _HEAD_FILE))

    def bind(batch: Batch) -> Callable[[], object]:
        if batch.is_ragged:
            ids: Any = [sequence.tolist() for sequence in batch.sequences]
            return lambda: _answer(encoder.forward_batch(ids), head)
        padded = ctranslate2.StorageView.from_array(batch.padded(0)[0].astype(np.int32))
        lengths = ctranslate2.StorageView.from_array(np.asarray(batch.lengths, np.int32))
        return lambda: _answer(encoder.forward_batch(padded, lengths), head)

    return bind


def _answer(output: Any, head: dict[str, Floats]) -> object:
    if not head:
        return np.asarray(output.last_hidden_state)
    return np.asarray(output.pooler_output) @ head["weight"] + head["bias"]


def _convert(source: ModelSource, folder: Path) -> None:
    """Writes CTranslate2's folder: the specification filled by its own loader, and the classifier beside it."""
    from ctranslate2.converters.transformers import BertLoader

    model: Any = source.torch_model()
    kind = type(model).__name__
    if kind not in (_CLASSIFIER, _ENCODER):
        raise UnsupportedModelError(f"{kind}: CTranslate2 is compared on {_CLASSIFIER} and {_ENCODER}")
    encoder = model.bert if kind == _CLASSIFIER else model
    attention = encoder.encoder.layer[0].attention.self
    encoder.config.position_embedding_type = "absolute"  # asked for by the loader, gone from transformers 5
    encoder.config.num_attention_heads = attention.num_attention_heads
    specification = BertLoader().get_model_spec(encoder)
    head_size = np.dtype("int32").type(attention.attention_head_size)
    for layer in specification.encoder.layer:
        # BertLoader never sets it and its specifications take no new attributes; pruned models need it.
        object.__setattr__(layer.self_attention, "head_dim", head_size)
    specification.register_vocabulary([f"token {number}" for number in range(encoder.config.vocab_size)])
    specification.config.unk_token = "token 0"
    specification.config.layer_norm_epsilon = encoder.config.layer_norm_eps
    specification.validate()
    specification.optimize(quantization="int8")
    specification.save(str(folder))
    head: dict[str, Any] = {}
    if kind == _CLASSIFIER:
        weight, bias = model.classifier.weight.detach().numpy(), model.classifier.bias.detach().numpy()
        head = {"weight": np.ascontiguousarray(weight.T), "bias": bias}
    np.savez(folder / _HEAD_FILE, **head)
