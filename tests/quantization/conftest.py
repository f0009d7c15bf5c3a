# SPDX-License-Identifier: MIT
"""Tiny models of every family, a tokenizer made on the spot, and a timing cache of each test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_threads
from model_families import PREFIXES, family_config
from torch import Tensor, nn

from fastformers.quantization import timing

one_torch_thread = torch_threads.one_torch_thread

COMMON: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 64,
}
_OWN: dict[str, dict[str, Any]] = {
    "electra": {"embedding_size": 32},
    "modernbert": {
        f"{name}_token_id": place for place, name in enumerate(("pad", "bos", "eos", "cls", "sep"))
    },
}
#: Family -> (linears of the encoder, of which with an activation fused), where they are not as in BERT.
_LINEARS = {"electra": (13, 2), "modernbert": (8, 0)}
WORDS = (
    "[PAD] [UNK] [CLS] [SEP] the a cat dog sat ran fast slow on mat road sun moon red blue old new".split()
)


@pytest.fixture(autouse=True)
def timing_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the timing cache: never the user's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FASTFORMERS_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def fake_times(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., tuple[float, float]]], list[Any]]:
    """Replaces the stopwatch: ``fake_times(lambda linear, rows: (float_us, packed_us))``; returns the calls."""

    def install(times: Callable[..., tuple[float, float]]) -> list[Any]:
        calls: list[Any] = []

        def measure(linear: nn.Linear, activation: Any, rows: int, *_: Any) -> timing.LayerTiming:
            calls.append((linear.out_features, linear.in_features, activation, rows))
            return timing.LayerTiming(rows, *times(linear, rows))

        monkeypatch.setattr(timing, "measure_layer", measure)
        return calls

    return install


@pytest.fixture(params=PREFIXES)
def family(request: pytest.FixtureRequest) -> str:
    """Name of a model family."""
    name: str = request.param
    return name


@pytest.fixture
def sizes(family: str) -> tuple[int, int]:
    """(linears of the family's tiny encoder, those of them that an activation is fused into)."""
    return _LINEARS.get(family, (12, 2))


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """``make_model(family, auto_class="AutoModel", **changes)``: a tiny random model, the same every time."""
    transformers = pytest.importorskip("transformers")

    def make(family: str, auto_class: str = "AutoModel", **changes: Any) -> Any:
        torch.manual_seed(0)
        config = family_config(family, **{**COMMON, **_OWN.get(family, {}), **changes})
        return getattr(transformers, auto_class).from_config(config).eval()

    return make


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A word-level tokenizer of a few words, with padding."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    vocabulary = {word: place for place, word in enumerate(WORDS)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Sixteen short texts of different lengths out of the tokenizer's words."""
    return [" ".join(WORDS[4 + (3 * row + 5 * place) % 17] for place in range(2 + row)) for row in range(16)]


@pytest.fixture(scope="session")
def token_ids() -> list[dict[str, Tensor]]:
    """Example inputs for transformers models: eight batches of two."""
    generator = torch.Generator().manual_seed(5)
    batches = []
    for row in range(8):
        ids = torch.randint(5, 100, (2, 5 + row), generator=generator)
        batches.append({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    return batches


@pytest.fixture
def plain() -> nn.Sequential:
    """A model that has nothing to do with transformers."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 48), nn.LayerNorm(48), nn.Linear(48, 30)
    ).eval()


@pytest.fixture(scope="session")
def plain_inputs() -> list[Tensor]:
    """Example inputs for it: four batches of eight."""
    generator = torch.Generator().manual_seed(6)
    return [torch.randn(8, 40, generator=generator) for _ in range(4)]


@pytest.fixture(scope="session")
def snapshot() -> Callable[[nn.Module], dict[str, Any]]:
    """``snapshot(model)``: everything there is to compare in a model, by name; see ``test_swap.py``."""

    def take(model: nn.Module) -> dict[str, Any]:
        found: dict[str, Any] = {
            f"tensor {name}": tensor.clone() for name, tensor in model.state_dict().items()
        }
        for name, module in model.named_modules(remove_duplicate=False):
            found[f"class {name}"] = type(module)
            found[f"training {name}"] = module.training
            for attribute in ("activation", "activation_relu_or_gelu", "use_nested_tensor"):
                value = module.__dict__.get(attribute)
                found[f"value {name}.{attribute}"] = value
        return found

    return take


@pytest.fixture(scope="session")
def same() -> Callable[[dict[str, Any], dict[str, Any]], bool]:
    """Whether two snapshots are equal, tensors bit for bit."""

    def compare(one: dict[str, Any], other: dict[str, Any]) -> bool:
        if one.keys() != other.keys():
            return False
        return all(
            torch.equal(value, other[key]) if isinstance(value, Tensor) else value == other[key]
            for key, value in one.items()
        )

    return compare
