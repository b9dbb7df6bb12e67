"""From records to tables: the statistics of transfer, their verdicts, and words for both.

``collect`` joins records, ``comparison`` and ``statistics`` say what varies and how much,
``transfer`` gives the verdict. ``words`` holds labels and formats of what tables contain.

Imports ``base``, ``data`` and ``probes`` (whose records it reads); figures and report import it.
"""
