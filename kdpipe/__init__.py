"""What a student network inherits from its teacher, measured.

At the top lies the command line alone; everything else has a room. From bottom to top:

- ``base``: what every room needs and that knows nothing of networks
- ``data``, ``models``, ``distill``, ``training``, ``probes``: what a job computes
- ``results``, ``figures``, ``report``: what becomes of the measurements
- ``stages``: one module a rule of the workflow, each with one function ``run``
- ``study``, ``plan``: a study file and the jobs that follow from it
- ``testing``: checks that a plug-in keeps its contracts
- ``run``, ``workflow``, ``audit``: running those jobs, under Snakemake, or for networks that exist

A room imports from rooms below it, never from one above (``tests/unit/test_rooms.py``).
"""

__version__ = "0.1.0"
