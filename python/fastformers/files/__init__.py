# SPDX-License-Identifier: MIT
"""Folders of files as artefacts: written in one step, read with suspicion. Knows no model and needs no torch."""
