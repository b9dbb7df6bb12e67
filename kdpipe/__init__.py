"""What a student network inherits from its teacher, measured."""

__version__ = "0.1.0"
