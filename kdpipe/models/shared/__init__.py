"""What several modules of ``kdpipe.models`` use; no plug-ins."""
