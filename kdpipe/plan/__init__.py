"""The jobs of a study, before any of them runs.

``plan`` makes them; ``digest`` and ``syntax`` say which code each depends on; ``estimate``,
``throughput`` and ``cost`` what they need; ``check_data`` and ``check_networks`` whether they can
run here.

Imports ``study``, the settings of ``stages`` and everything below them; imported by ``run``,
``workflow`` and ``audit``.
"""
