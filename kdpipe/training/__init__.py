"""The training loop: a recipe, batches, checkpoints and what is kept of a trained network.

``loop.fit`` is the loop, ``recipe`` its settings, ``compute`` where and how exactly it computes.

Imports ``base``, ``data``, ``models`` and ``distill``.
"""
