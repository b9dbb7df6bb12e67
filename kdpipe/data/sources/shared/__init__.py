"""What several modules of ``kdpipe.data.sources`` use; no plug-ins."""
