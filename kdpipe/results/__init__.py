"""From records to tables: the statistics of transfer, their verdicts, and words for both.

``collect`` joins records, ``comparison`` and ``statistics`` say what varies and how much,
``transfer`` gives the verdict. ``words`` formats what tables contain, with the labels
that probes and objectives give themselves.

Imports ``base``, ``data``, ``distill`` and ``probes``, whose records it reads; figures and report
import it.
"""
