# SPDX-License-Identifier: MIT
"""The folder from which a killed run goes on: who it belongs to, and one checkpoint, replaced in one step.

``run.json`` says whose folder it is. ``checkpoint/`` holds ``state.json``, ``best.safetensors``, in ``trainer/`` what
transformers' Trainer needs: weights as safetensors, optimizer, schedule and random states as torch files, which are
read with ``weights_only=True``; and ``files.json`` with a checksum of each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fastformers.errors import ConfigError, FormatError
from fastformers.files.folder_lock import lock, open_folder
from fastformers.files.replaced_file import half_written, replace_file
from fastformers.files.replaced_folder import replaced_folder
from fastformers.files.strict_json import json_bytes, read_json
from fastformers.files.unfinished import remove_unfinished
from fastformers.training.identity import differences
from fastformers.training.noted_files import check_files, note_files
from fastformers.training.run_state import BestWeights, RunState

__all__ = ["WEIGHTS_FILE", "WorkFolder"]

#: Name that transformers' Trainer gives to weights in a checkpoint.
WEIGHTS_FILE = "model.safetensors"

_RUN_FILE = "run.json"
_CHECKPOINT = "checkpoint"
_STATE_FILE = "state.json"
_BEST_FILE = "best.safetensors"
_TRAINER = "trainer"
_MOST_STATE_BYTES = 256 << 20


class WorkFolder:
    """A work folder of one run, made if it is not there.

    Args:
        path: where; its parent must exist.
        identity: of the run, from :func:`fastformers.training.identity.identity_of`.

    Raises:
        ConfigError: the folder has a checkpoint of another run (says what differs), another process is at work in it,
            or it holds something else.
        FormatError: ``run.json`` is damaged.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._path = path
        self._best_step: int | None = None
        if not path.parent.is_dir():
            raise ConfigError(f"{path.parent} is not a folder: make it first")
        is_ours = (path / _RUN_FILE).exists() or not path.exists() or (path.is_dir() and _is_empty(path))
        if not is_ours:
            raise ConfigError(f"{path} holds no {_RUN_FILE}, so it is no work folder: choose another path")
        path.mkdir(exist_ok=True)
        self._descriptor = open_folder(path)
        try:
            self._take_over(identity)
        except BaseException:  # nobody else would close it, and the same process could not try again
            self.close()
            raise

    def _take_over(self, identity: Mapping[str, Any]) -> None:
        path = self._path
        if lock(self._descriptor) is False:
            raise ConfigError(f"another process is training in {path}: wait for it, or choose another path")
        remove_unfinished(path / _CHECKPOINT)
        if (path / _CHECKPOINT).is_dir():  # of a run that ended before its first one there is nothing to lose
            with self._or_anew():
                found = differences(read_json(path / _RUN_FILE), identity)
            self._refuse(found)
        for left in half_written(path / _RUN_FILE):
            left.unlink()
        replace_file(path / _RUN_FILE, json_bytes(dict(identity)))

    def close(self) -> None:
        """Gives the lock back, so that another run can have the folder; nothing is read or written after it."""
        os.close(self._descriptor)

    @property
    def trainer_folder(self) -> Path | None:
        """The Trainer's part of the checkpoint; ``None`` if there is none yet."""
        folder = self._path / _CHECKPOINT / _TRAINER
        return folder if folder.is_dir() else None

    def read(self, best: BestWeights) -> RunState:
        """Returns the state of the checkpoint, or a new one, and fills in the best weights.

        Raises:
            FormatError: a file is missing or damaged.
        """
        folder = self._path / _CHECKPOINT
        if not folder.is_dir():
            return RunState()
        with self._or_anew():
            check_files(folder)
            state = RunState.from_dict(read_json(folder / _STATE_FILE, _MOST_STATE_BYTES))
            if (folder / _BEST_FILE).is_file():
                best.weights = _read_weights(folder / _BEST_FILE)
                self._best_step = state.best_step
        return state

    def load_weights(self, module: nn.Module) -> None:
        """Puts the checkpoint's weights, the last ones, into what was trained.

        Raises:
            FormatError: the file is missing or damaged.
        """
        with self._or_anew():
            weights = _read_weights(self._path / _CHECKPOINT / _TRAINER / WEIGHTS_FILE)
        module.load_state_dict(weights)

    @contextmanager
    def replaced_checkpoint(self, state: RunState, best: BestWeights) -> Iterator[Path]:
        """Yields the folder for the Trainer's part of a new checkpoint, which takes the old one's place at the end.

        Raises:
            OSError: the system cannot write; the old one is kept.
        """
        target = self._path / _CHECKPOINT
        try:
            with replaced_folder(target, overwrite=True, marker=_STATE_FILE) as folder:
                (folder / _TRAINER).mkdir()
                yield folder / _TRAINER
                written = self._best_step == state.best_step and _linked(
                    target / _BEST_FILE, folder / _BEST_FILE
                )
                if best.weights and not written:
                    save_file(best.weights, folder / _BEST_FILE)
                (folder / _STATE_FILE).write_bytes(json_bytes(state.to_dict()))
                note_files(folder)
        except (OSError, RuntimeError) as error:  # RuntimeError: how torch.save tells that the disk is full
            raise OSError(
                f"the checkpoint cannot be written: {error}; when that is mended (on a full disk: make room), run the "
                "same command again: it goes on from the checkpoint before, if there is one"
            ) from error
        self._best_step = state.best_step if best.weights else None

    @contextmanager
    def _or_anew(self) -> Iterator[None]:
        """Adds to an error about damage what can be done."""
        try:
            yield
        except FormatError as error:
            raise FormatError(f"{error}: the run cannot go on; delete {self._path} to start anew") from error

    def _refuse(self, found: Sequence[str]) -> None:
        if found:
            raise ConfigError(
                f"{self._path} belongs to another run: {'; '.join(found)}. Set these as they were to go on with it, or "
                "delete the folder to start anew"
            )


def _is_empty(path: Path) -> bool:
    """Whether a folder holds nothing, or only what a process left that was killed before its first ``run.json``."""
    return {*path.iterdir()} == {*half_written(path / _RUN_FILE)}


def _linked(old: Path, new: Path) -> bool:
    """Gives a file a second name; some file systems (exFAT, many over a network) know no such."""
    try:
        os.link(old, new)
    except OSError:
        return False
    return True


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise FormatError(f"{path} is missing or damaged ({error})") from error
