"""TODO stages"""

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
