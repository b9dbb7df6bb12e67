"""What every other room stands on, and that knows nothing of networks or studies.

Sentences for people (``errors``), settings (``options``), plug-ins by name (``registry``,
``plugin``), random streams (``seeding``), atomic files and what travels with them
(``provenance``), where artefacts lie (``paths``), what the machine has (``machine``).

Imports no other room; every room may import it. Loads no torch.
"""
