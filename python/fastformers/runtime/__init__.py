# SPDX-License-Identifier: MIT
"""Serving without torch: texts in, answers out, over instances that share one packed copy of the weights."""
