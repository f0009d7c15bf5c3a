# SPDX-License-Identifier: MIT
"""Compiled encoders without torch: their artefacts read, written and verified, and what serves them."""
