# SPDX-License-Identifier: MIT
"""A teacher, a student and a pruned student of a few weights, for a task of a user's own: what a ladder climbs."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from tiny_models import word_pieces

from fastformers.modules.layer_shapes import LayerShape, resize_
from fastformers.recipes.model_folder import save_model
from fastformers.tasks import TaskFile, custom_task

WORDS = "the cat sat on mat dog ran because so not who bank river money".split()
LABELS = ("bad", "good")
MOST_TOKENS = 24
MOST_POSITIONS = 40


def save_span_task(folder: Path) -> list[str]:
    """WiC's training and validation files, 12 rows each; returns the words of a tokenizer for them."""
    words = "the cat sat on mat dog ran bank river money".split()
    rows = [
        {
            "word": "bank",
            "sentence1": f"bank {words[place % 10]} cat",
            "sentence2": "money bank",
            **{"start1": 0, "end1": 4, "start2": 6, "end2": 10, "idx": place, "label": place % 2 == 0},
        }
        for place in range(12)
    ]
    for split in ("train", "val"):
        lines = (json.dumps(row) for row in rows)
        (folder / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return words


def write_rows(path: Path, count: int, seed: int) -> None:
    choose = random.Random(seed)
    lines = []
    for _ in range(count):
        label = choose.choice(LABELS)
        words = [*choose.choices(WORDS, k=choose.randrange(2, 30)), label]
        lines.append(json.dumps({"text": " ".join(words), "label": label}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def random_model(layers: int, heads: int, ffn: int, seed: int) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=4 + len(WORDS) + len(LABELS),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MOST_POSITIONS,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
        resize_(model, [LayerShape(heads=heads, head_size=8, intermediate=ffn)] * layers)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0.0, 0.1)
    return model.eval()


def save_data(folder: Path) -> Path:
    """Writes 48 texts to train on and 40 to answer."""
    write_rows(folder / "train.jsonl", 48, seed=1)
    write_rows(folder / "val.jsonl", 40, seed=2)
    return folder


def save_systems(base: Path, data: Path) -> dict[str, Path]:
    """Saves the three models as fastformers saves what it trained; returns their folders."""
    tokenizer = word_pieces([*WORDS, *LABELS])
    task_file = TaskFile(custom_task(data), MOST_TOKENS)
    shapes = {"teacher": (3, 4, 64), "student": (2, 4, 64), "pruned": (2, 3, 40)}
    for seed, (name, shape) in enumerate(shapes.items()):
        save_model(random_model(*shape, seed), base / name, tokenizer, task_file)
    return {name: base / name for name in shapes}
