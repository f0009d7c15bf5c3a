# SPDX-License-Identifier: MIT
"""Accuracy of the whole road on real data: teachers, students, prunings and INT8, over seeds."""
