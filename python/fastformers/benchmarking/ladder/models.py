# SPDX-License-Identifier: MIT
"""Opens and compiles the models of a ladder, each once; compiled ones are kept for the next run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastformers import __version__
from fastformers.benchmarking.ladder.systems import SystemModel, Systems, folder_digest
from fastformers.config import CompileConfig, Int8Config
from fastformers.files.digests import sha256_of
from fastformers.files.strict_json import read_json
from fastformers.recipes import compiling
from fastformers.recipes.compile_folder import Text, training_texts
from fastformers.recipes.model_folder import OpenedModel, open_model, save_model

__all__ = ["LadderModels"]

_KEY_FILE = "ladder.json"
_FEW = 8


class LadderModels:
    """The models of a ladder.

    Args:
        systems: where they come from.
        folder: for compiled ones; made if need be.
    """

    def __init__(self, systems: Systems, folder: Path) -> None:
        self._systems = systems
        self._folder = folder
        self._opened: dict[str, OpenedModel] = {}
        self._texts: list[Text] | None = None
        self._encoders: dict[str, str] = {}

    def opened(self, model: SystemModel) -> OpenedModel:
        """Returns the torch model."""
        if model.name not in self._opened:
            self._opened[model.name] = model.open()
        return self._opened[model.name]

    def compiled(self, model: SystemModel) -> Path:
        """Returns the folder of the compiled encoder, made from training texts of the task where there are some."""
        if model.compiled is not None:
            return model.compiled
        place = self._folder / f"{_file_name(model.name)}-int8"
        key = {"made_of": self.calibrated_identity(model)}
        if (place / _KEY_FILE).is_file() and read_json(place / _KEY_FILE) == key:
            return place
        self._folder.mkdir(parents=True, exist_ok=True)
        opened = self.opened(model)
        encoder = compiling.compile(
            opened.model,
            CompileConfig(int8=self.int8()),
            tokenizer=opened.tokenizer,
            texts=self.calibration_texts(),
        )
        save_model(encoder, place, opened.tokenizer, opened.task_file, extra={_KEY_FILE: key}, overwrite=True)
        return place

    def encoder_identity(self, model: SystemModel) -> str:
        """Returns what changes with the compiled encoder: one model can have several, by options and by texts."""
        if model.name not in self._encoders:
            given = model.compiled
            self._encoders[model.name] = (
                self.calibrated_identity(model) if given is None else folder_digest(given)
            )
        return self._encoders[model.name]

    def calibrated_identity(self, model: SystemModel) -> str:
        """Returns what changes with INT8 layers that the ladder makes itself: weights, texts, version."""
        texts = sha256_of(repr(self.calibration_texts()).encode())
        return sha256_of(f"{model.identity} {texts} {__version__}".encode())

    def compiled_model(self, model: SystemModel) -> OpenedModel:
        """Returns the compiled encoder, opened to be scored."""
        return open_model(self.compiled(model))

    def int8(self, **fields: Any) -> Int8Config:
        """Returns how layers become INT8; what random weights are calibrated with decides nothing, so few texts do."""
        return Int8Config(**fields) if self._systems.trained else Int8Config(**fields, max_texts=_FEW)

    def calibration_texts(self) -> list[Text] | None:
        """Returns training texts of the task; ``None`` where there are none: texts of the package are used then."""
        task, data = self._systems.task, self._systems.data
        if self._texts is None and task is not None and data is not None and not task.span_texts:
            self._texts = training_texts(task, data)
        return self._texts


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
