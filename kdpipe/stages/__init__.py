"""What the rules of the workflow call: one module and one function ``run`` a stage.

A stage gets its settings (``Slice`` of its own, validated), the folder of the study and the path
that it makes, reads only what the plan lists as its inputs, and writes only below that path, each
file in one step. It knows neither the study file nor Snakemake.

Imports everything that computes (``data`` to ``report``), never ``study`` or ``plan``.
"""

STAGES = (
    "subset",
    "train",
    "teacher_outputs",
    "distil",
    "gate",
    "calibrate",
    "probe",
    "tables",
    "figures",
    "report",
)
