# SPDX-License-Identifier: MIT
"""Distillation: losses, layer maps, the teacher's outputs, students made from a teacher."""

from __future__ import annotations

from fastformers._optional import require

require("torch", "torch", "fastformers.distillation")

from fastformers.distillation.layer_map import layer_pairs  # noqa: E402 - after the check that torch is there
from fastformers.distillation.objective import DistillObjective  # noqa: E402
from fastformers.distillation.pairs import check_pair  # noqa: E402
from fastformers.distillation.report import DistillReport, ModelSize  # noqa: E402
from fastformers.distillation.students import make_student  # noqa: E402
from fastformers.distillation.teacher_outputs import teacher_digest, teacher_logits  # noqa: E402

__all__ = [
    "DistillObjective",
    "DistillReport",
    "ModelSize",
    "check_pair",
    "layer_pairs",
    "make_student",
    "teacher_digest",
    "teacher_logits",
]
