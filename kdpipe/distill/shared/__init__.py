"""What several modules of ``kdpipe.distill`` use; no plug-ins."""
