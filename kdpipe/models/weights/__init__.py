"""Third-party checkpoints: reading, choosing and checking their weights."""
