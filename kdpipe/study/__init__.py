"""The study file: its schema, defaults, shorthand and reference.

``schema`` puts the ``entries`` together and checks what one entry says of another. What a study
may leave out is written out by ``shorthand``, what it shares by ``includes``.

Imports ``base`` and the options and registries of ``data``, ``models``, ``distill``, ``training``
and ``probes``; loads torch only when a study names a plug-in that needs it. Imported by ``plan``
and what stands above it.
"""
