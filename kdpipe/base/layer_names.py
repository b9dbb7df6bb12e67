"""Names of layers that stand for several, in every network."""

STAGES = "stages"
"""The outputs of a network's stages, from input to output, among which an objective chooses."""
BEFORE = "F0"
"""The layer before the stages, F1, or none where F1 is a stage itself."""
