"""What several modules of ``kdpipe.figures`` use; no plug-ins."""
