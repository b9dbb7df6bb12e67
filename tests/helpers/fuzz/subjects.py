"""The kinds of input that are fuzzed: how each is damaged and which code reads it.

A subject is called with a random generator and an empty folder. It writes one damaged input there
and reads it as kdpipe would. It returns nothing; what it raises is judged by :mod:`verdict`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from helpers.fuzz.of_commands import command
from helpers.fuzz.of_data import csv_list, idx, image_folder, parquet
from helpers.fuzz.of_images import image
from helpers.fuzz.of_networks import network
from helpers.fuzz.of_studies import study_file
from helpers.fuzz.of_weights import checkpoint

Subject = Callable[[random.Random, Path], None]

SUBJECTS: dict[str, Subject] = {
    "study": study_file,
    "image": image,
    "image_folder": image_folder,
    "csv": csv_list,
    "idx": idx,
    "parquet": parquet,
    "checkpoint": checkpoint,
    "network": network,
    "command": command,
}
EVERY = {"command": 20}
"""How many numbers apart the inputs of a kind are, where each takes a second."""
SECONDS = {"command": 60, "study": 20}
"""What one input may take, where it is not the usual limit."""
