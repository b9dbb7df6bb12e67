"""How one job runs, and all jobs of a plan without Snakemake.

``stage`` calls one stage: locked, on a GPU of its own, its failure kept. ``inprocess`` runs a
whole plan; ``warm`` starts jobs fast; ``lock`` keeps two runs apart; ``manifest`` and ``times``
are what a run leaves beside its results, ``snakemake_metadata`` what Snakemake leaves.

Imports ``plan``, ``stages`` and ``report``; imported by ``workflow``, ``audit`` and the command
line.
"""
