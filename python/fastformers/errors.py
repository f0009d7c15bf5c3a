# SPDX-License-Identifier: MIT
"""Every error that fastformers raises on purpose, so that callers can catch one base class or one cause.

Each class also derives from the built-in exception a caller would expect (``ValueError``, ...): code that
knows nothing of fastformers still catches it. Messages name the offending value and the remedy.
"""

from __future__ import annotations

__all__ = [
    "CalibrationError",
    "ClosedError",
    "ConfigError",
    "DeadlineError",
    "DeviceError",
    "DtypeError",
    "FastformersError",
    "ForkError",
    "FormatError",
    "GateError",
    "IsaError",
    "MissingExtraError",
    "NonFiniteError",
    "QueueFullError",
    "ShapeError",
    "UnsupportedModelError",
]


class FastformersError(Exception):
    """Base of every error raised on purpose by this package."""


class ConfigError(FastformersError, ValueError):
    """A configuration value is unknown, out of range or contradicts another one."""


class ShapeError(FastformersError, ValueError):
    """An array's shape, stride or depth is not one the operation accepts."""


class DtypeError(FastformersError, TypeError):
    """An array's element type is not one the operation accepts."""


class DeviceError(FastformersError, ValueError):
    """A tensor lives on another device than the one that is needed, or that device is not there."""


class NonFiniteError(FastformersError, ValueError):
    """Weights, scales or factors hold NaN or infinity where only finite numbers make sense."""


class IsaError(FastformersError, ValueError):
    """An instruction set is unknown, not supported by this CPU, or not the one a weight was packed for."""


class MissingExtraError(FastformersError, ImportError):
    """An optional dependency is absent; the message names the extra that installs it."""


class FormatError(FastformersError, ValueError):
    """A saved artefact is damaged, truncated, of an unknown version, or not one of ours."""


class GateError(FastformersError, RuntimeError):
    """A measured result missed the limit that the caller set; the model is as it was before the call."""


class UnsupportedModelError(FastformersError, ValueError):
    """The model holds nothing that the operation can work on, or is of a family it does not know."""


class CalibrationError(FastformersError, ValueError):
    """The calibration texts are too few, empty, or never reached a layer that needs them."""


class ClosedError(FastformersError, RuntimeError):
    """An engine was used after it was closed, or was closed before it began this request."""


class DeadlineError(FastformersError, TimeoutError):
    """A request's deadline passed before an instance could begin it; nothing was computed for it."""


class ForkError(FastformersError, RuntimeError):
    """An engine was used in a child process that was forked after the engine was made."""


class QueueFullError(FastformersError, RuntimeError):
    """As many requests wait as the engine's queue may hold; told at once, and nothing was queued."""
