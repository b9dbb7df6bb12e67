"""What several modules of ``kdpipe.stages`` use; no plug-ins."""
