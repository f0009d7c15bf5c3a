# SPDX-License-Identifier: MIT
"""The whole encoder, from token ids to logits: fastformers, the engines a user would pick, the machine's limit."""
