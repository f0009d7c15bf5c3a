# SPDX-License-Identifier: MIT
"""Encoders on a GPU: in half, in large batches of similar length.

``half`` makes a model that runs in float16, ``alignment`` gives it sizes that matrix units like, ``mpnet_attention``
brings fused attention where transformers has none, ``agreement`` compares with float32; ``torch_model`` answers texts
through batches of ``text_batches``, replayed by ``cuda_graphs`` if wanted; ``devices`` knows GPUs. All of it runs on a
CPU too, where the tests are. Nothing is imported here.
"""
