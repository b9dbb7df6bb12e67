"""The page that a reader opens: its sentences, tables, pictures and warnings.

Everything shown comes from the rows of the tables or from record files, never from another
measurement.

Imports ``base``, ``results`` and ``figures``; only ``stages`` and what runs a study import it.
"""
