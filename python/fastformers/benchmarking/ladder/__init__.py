# SPDX-License-Identifier: MIT
"""The ladder: what each technique adds, measured step by step on one task (the paper's Table 3).

``systems`` and ``preset`` say which models take part, ``rungs`` which rows they make, ``ways`` how a row answers,
``rounds`` measures them beside each other, ``report`` and ``summary`` say what came out, ``outputs`` writes it.
Nothing is imported here; the public function is :func:`fastformers.ladder`.
"""
