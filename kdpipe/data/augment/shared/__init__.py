"""What several modules of ``kdpipe.data.augment`` use; no plug-ins."""
