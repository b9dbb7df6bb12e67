"""What several modules of ``kdpipe.data.domains`` use; no plug-ins."""
