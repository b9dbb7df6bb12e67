"""Images: where they come from, how they are rendered, stored, picked and augmented.

Plug-ins: ``sources`` (files, Parquet, embedded digits), ``domains`` (versions of an image),
``augment`` (training views) and ``class_maps`` (decisions of networks of other classes). A
``store`` holds a subset on disk; ``selection`` says which of its images are used.

Imports ``base``.
"""
