"""The results of a study for experiment trackers: TensorBoard, Weights & Biases, MLflow.

One file a tracker, each with one function ``write(contents, place)``; ``contents`` is what all of
them export. Their packages are optional and imported only when they are asked for.

Imports ``base`` alone; imported by the command line.
"""
