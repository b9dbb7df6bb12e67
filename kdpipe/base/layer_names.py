"""Names of layers that are the same in every network."""

STAGES = "stages"
"""The outputs of a network's stages, from input to output, among which an objective chooses."""
BEFORE = "F0"
"""The layer before the stages, F1, or none where F1 is a stage itself."""

REUSED = "reused"
"""Where a network keeps a classifier that it took from another one."""

PROJECTED = f"{REUSED}.projector"
"""What that classifier is given: the network's features, as the other network's."""
