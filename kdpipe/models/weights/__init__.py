"""Checkpoints that somebody trained elsewhere: reading, choosing and checking what is in them."""
