# SPDX-License-Identifier: MIT
"""Where engines get a model from: its torch form, sequences to calibrate on, and a folder that keeps conversions.

Each engine runs in a process of its own. What one converted (an ONNX graph, a calibrated model) lies in the
source's workspace, where the next engine and the next thread count find it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from fastformers._optional import require
from fastformers.benchmarking.engines.batch import Batch
from fastformers.errors import FormatError
from fastformers.files.fields import TORCH_FORMAT
from fastformers.files.saved_format import saved_format
from fastformers.quiet_loading import quiet_loading
from fastformers.recipes.sentence_folder import is_sentence_folder

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

__all__ = ["FolderSource", "ModelSource", "answer_of", "kept", "saved_format"]

_CALIBRATION_TEXTS = 24
_CALIBRATION_TOKENS = 128
_NO_LIMIT = 1 << 20


class ModelSource(Protocol):
    """A model to compare engines on."""

    @property
    def workspace(self) -> Path:
        """Folder for conversions; exists."""

    @property
    def artefact(self) -> Path | None:
        """Folder of a fastformers artefact, for models that are one."""

    def torch_model(self) -> PreTrainedModel:
        """Returns a new instance, float32, in evaluation mode.

        Raises:
            FormatError: there is none.
        """

    def tokenizer(self) -> Any:
        """Returns the model's tokenizer; None when it has none."""

    def calibration(self) -> list[Batch]:
        """Returns what a static quantizer may look at."""


class FolderSource:
    """A folder saved by transformers, a torch model of ours (pruned), or a fastformers artefact.

    Args:
        folder: the model, with its tokenizer.
        workspace: folder for conversions; made when absent.
    """

    def __init__(self, folder: Path, workspace: Path) -> None:
        self.folder = folder
        self.workspace = workspace
        workspace.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def is_artefact(folder: Path) -> bool:
        """Says whether a folder is a fastformers artefact, and not a torch model of ours."""
        return saved_format(folder) not in (None, TORCH_FORMAT)

    @property
    def artefact(self) -> Path | None:
        """The folder, when it is a fastformers artefact."""
        return self.folder if self.is_artefact(self.folder) else None

    def torch_model(self) -> PreTrainedModel:
        """Loads the model by the class that its config names; of sentence-transformers, the encoder alone."""
        import transformers

        if self.artefact is not None:
            raise FormatError(f"{self.folder} is a fastformers artefact: it has no float32 torch model")
        if saved_format(self.folder) == TORCH_FORMAT:
            return self._model_of_ours()
        try:
            config = transformers.AutoConfig.from_pretrained(self.folder, local_files_only=True)
            names = getattr(config, "architectures", None) or ["AutoModel"]
            # A config of sentence-transformers may name the class of pretraining, whose head is not in the file.
            if is_sentence_folder(self.folder):
                names = ["AutoModel"]
            model_class = getattr(transformers, names[0], transformers.AutoModel)
            with quiet_loading():
                model = model_class.from_pretrained(self.folder, local_files_only=True, dtype="float32")
        except (OSError, ValueError) as error:
            raise FormatError(
                f"{self.folder} does not hold a model that transformers can load: {error}"
            ) from error
        loaded: PreTrainedModel = model.eval()
        return loaded

    def _model_of_ours(self) -> PreTrainedModel:
        from fastformers.modules import holds_packed_layers
        from fastformers.quantization.artefact import load_pretrained_torch

        model: Any = load_pretrained_torch(self.folder).eval()
        if holds_packed_layers(model):
            raise FormatError(
                f"{self.folder} holds INT8 layers and no float32 torch model: compile it (fastformers compile) to "
                "compare it as an artefact"
            )
        ours: PreTrainedModel = model
        return ours

    def tokenizer(self) -> Any:
        """Loads the tokenizer.

        Raises:
            FormatError: the folder has none.
        """
        transformers = require("transformers", "torch", "bench")
        try:
            return transformers.AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise FormatError(
                f"{self.folder} has no tokenizer that transformers can load: {error}"
            ) from error

    def longest(self) -> int:
        """Returns the longest sequence, as the config says; a huge number when it says none.

        Raises:
            FormatError: the folder has no readable config.
        """
        try:
            values = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
            return int(values.get("max_position_embeddings", _NO_LIMIT))
        except (OSError, ValueError, AttributeError) as error:
            raise FormatError(f"{self.folder} is no model folder: its config.json: {error}") from error

    def calibration(self) -> list[Batch]:
        """Tokenizes bundled texts, one a batch."""
        from fastformers.quantization.inputs import bundled_texts

        texts = bundled_texts()
        chosen = texts[:: max(1, len(texts) // _CALIBRATION_TEXTS)][:_CALIBRATION_TEXTS]
        ids = self.tokenizer()(chosen, truncation=True, max_length=min(_CALIBRATION_TOKENS, self.longest()))[
            "input_ids"
        ]
        return [Batch.of([sequence]) for sequence in ids]


def answer_of(output: Mapping[str, Any]) -> Tensor:
    """Returns what a model answers: logits, both span logits [n, length, 2], the last hidden state, or an embedding."""
    import torch

    if "start_logits" in output:
        return torch.stack((output["start_logits"], output["end_logits"]), -1)
    for name in ("logits", "last_hidden_state"):
        if name in output:
            return cast("Tensor", output[name])
    return cast("Tensor", output["embedding"])  # a compiled encoder that pools


def kept(folder: Path, make: Callable[[Path], None]) -> Path:
    """Returns a folder of a conversion, made on the first call; an interrupted one leaves nothing behind.

    Args:
        folder: where the conversion is kept.
        make: fills the empty folder that it is given.
    """
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        partial.rename(folder)
    return folder
