# SPDX-License-Identifier: MIT
"""Output classes by name: those of transformers, and one of our own for sentence embeddings.

transformers is imported when the first class is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastformers._optional import require
from fastformers.errors import ConfigError

if TYPE_CHECKING:
    EmbeddingOutput: Any

__all__ = ["EMBEDDING_RESULT", "output_class"]

#: Name of our own class: one sentence embedding.
EMBEDDING_RESULT = "EmbeddingOutput"


def output_class(name: str) -> Any:
    """The class of this name.

    Args:
        name: of a class in ``transformers.modeling_outputs``, or ``"EmbeddingOutput"``.

    Raises:
        ConfigError: there is none.
        MissingExtraError: transformers is not installed.
    """
    if name == EMBEDDING_RESULT:
        return __getattr__(name)
    require("transformers", "torch", "a compiled encoder's outputs")
    from transformers import modeling_outputs

    found = getattr(modeling_outputs, name, None)
    if not isinstance(found, type):
        raise ConfigError(f"transformers.modeling_outputs has no class {name!r}")
    return found


def __getattr__(name: str) -> Any:
    """Makes ``EmbeddingOutput`` on first use (PEP 562), so that it can be pickled by its name."""
    if name != EMBEDDING_RESULT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("transformers", "torch", "a compiled encoder's outputs")
    from transformers.utils.generic import ModelOutput

    kind = type(
        EMBEDDING_RESULT,
        (ModelOutput,),
        {
            "__module__": __name__,
            "__doc__": "Sentence embeddings, float32 [sequences, hidden].",
            "__annotations__": {"embedding": Any},
            "embedding": field(default=None),
        },
    )
    made: Any = dataclass(kind)
    globals()[name] = made
    return made
