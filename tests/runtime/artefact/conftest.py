# SPDX-License-Identifier: MIT
"""Tiny encoders with random weights, saved as artefacts, that tests copy and damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastformers.encoder_plan import EncoderPlan, HeadStep, LayerPlan, OutputPlan
from fastformers.files.digests import checksum_of, sha256_of
from fastformers.kernels import quantize_embedding_rows, quantize_weight
from fastformers.runtime.artefact_folder import save_artefact
from fastformers.runtime.expected_tensors import expected_tensors

Arrays = dict[str, np.ndarray[Any, Any]]


def classifier_plan(**changes: Any) -> EncoderPlan:
    """A BERT-like classifier of two layers, one of them pruned to odd shapes."""
    head = (
        HeadStep(linear=True, activation="tanh", norm=False, features=24),
        HeadStep(linear=True, activation="none", norm=False, features=3),
    )
    values: dict[str, Any] = {
        "hidden": 24,
        "embedding": 24,
        "vocab": 50,
        "types": 2,
        "positions": 40,
        "position_offset": 0,
        "max_tokens": 40,
        "pre_norm": False,
        "norm_epsilon": 1e-12,
        "activation": "gelu",
        "gated": False,
        "layers": (
            LayerPlan(heads=2, head_size=12, intermediate=40),
            LayerPlan(heads=1, head_size=12, intermediate=17),
        ),
        "outputs": (
            OutputPlan(name="logits", rows="first", steps=head),
            OutputPlan(name="last_hidden_state", rows="all"),
        ),
    }
    return EncoderPlan(**{**values, **changes})


def random_tensors(plan: EncoderPlan, *, int8: bool = True, seed: int = 0) -> Arrays:
    """Every tensor that a plan may have: int8 layers with scales and factors, or float32 ones."""
    random = np.random.default_rng(seed)
    tensors: Arrays = {}
    for name, rule in expected_tensors(plan).items():
        if rule.beside_int8 or (rule.optional and name.endswith("relative_bias")):
            continue
        values = random.normal(0.0, 0.5, rule.shape).astype(np.float32)
        if "norm.weight" in name:
            values = np.abs(values) + np.float32(0.5)
        if not int8 or "int8" not in rule.dtypes:
            tensors[name] = values
        elif name == "embeddings.word":
            tensors[name], tensors[f"{name}.scale"] = quantize_embedding_rows(values)
        else:
            layer = name.removesuffix(".weight")
            tensors[name], tensors[f"{layer}.scale"] = quantize_weight(values)
            tensors[f"{layer}.factors"] = random.uniform(0.5, 2.0, rule.shape[1]).astype(np.float32)
    return tensors


@pytest.fixture(scope="session")
def plan() -> EncoderPlan:
    return classifier_plan()


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., EncoderPlan]:
    return classifier_plan


@pytest.fixture(scope="session")
def make_tensors() -> Callable[..., Arrays]:
    return random_tensors


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A word-level tokenizer of the tokenizers package."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "cat": 2, "sat": 3}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
}


@pytest.fixture(scope="session")
def config() -> dict[str, Any]:
    return CONFIG


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, plan: EncoderPlan, tokenizer: Any) -> Path:
    """An artefact on disk; tests that change it take a copy."""
    path = tmp_path_factory.mktemp("artefact") / "encoder"
    save_artefact(path, plan, random_tensors(plan), config=CONFIG, tokenizer=tokenizer, report={"layers": 2})
    return path


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.fixture(scope="session")
def seal() -> Callable[[Path], None]:
    """``seal(folder)``: makes the manifest agree with changed files, so that a later check has to find the change."""

    def note_all(folder: Path) -> None:
        file = folder / "fastformers.json"
        manifest = json.loads(file.read_text())
        for name in manifest["files"]:
            content = (folder / name).read_bytes()
            manifest["files"][name] = {
                "bytes": len(content),
                "sha256": sha256_of(content),
                "checksum": checksum_of(content),
            }
        file.write_text(json.dumps(manifest))

    return note_all
