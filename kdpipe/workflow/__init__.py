"""What the Snakefile asks, and questions about a run under Snakemake.

``snakefile`` gives the rules their plan and parameters; ``why`` explains a rerun; ``accept`` keeps
results that an update would make anew; ``sharing`` names what studies have in common; ``start``
runs Snakemake itself.

Imports ``run``, ``plan`` and ``study``; imported by the rules, ``audit`` and the command line.
"""
