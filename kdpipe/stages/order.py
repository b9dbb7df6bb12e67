"""Every stage in the order in which a study needs them; the one list of them.

Apart from the package itself, which every stage imports: a new stage is no reason to repeat the
others.
"""

STAGES = {
    "subset": "Pick images, render their domains.",
    "train": "Train one network on labels alone.",
    "teacher_outputs": "Tabulate a teacher's answers to its students' training images.",
    "distil": "Distil one student.",
    "gate": "Look at networks once, before anything is measured on them.",
    "calibrate": "Fit a probe's settings to one network, such as the strength of an attack.",
    "prepare": "Compute what a probe needs of one teacher, once for all students.",
    "probe": "Measure every property of one family on one network.",
    "look": "Judge the claims so far, and say which methods get further seeds.",
    "tables": "Join all records into the tables.",
    "figures": "Draw the figures from the tables.",
    "report": "Write the report.",
}
"""Every stage, in the order in which a study needs them, and what it does."""

TRAININGS = ("train", "distil")
"""Stages that make a network."""

RESULTS = ("tables", "figures", "report")
"""Stages at the end of a study, one job each; Snakemake's default target."""

COLLECTED = {"subset": "subset", "models": "train", "students": "distil", "probes": "probe"}
"""Targets of the workflow that collect everything one stage makes."""
