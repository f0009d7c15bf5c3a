# SPDX-License-Identifier: MIT
"""Whole workloads: what a user runs, against what a user would pick instead."""
