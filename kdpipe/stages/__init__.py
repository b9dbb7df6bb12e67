"""What the rules of the workflow call: one module a stage, listed in ``order``.

A stage is a function ``run(settings, call)``. ``settings`` are its own model, validated; ``call``
says where it works (:class:`kdpipe.stages.base.Call`). It reads what the plan lists as the inputs
of its job, below ``call.root``. It writes ``call.out``, a file or a folder, each file in one step,
and nothing else. It returns nothing, and knows neither the study file nor Snakemake. Each module
names the two as ``STAGE``, so that mypy holds every stage to this contract.

Imports everything that computes (``data`` to ``report``), never ``study`` or ``plan``.
"""
