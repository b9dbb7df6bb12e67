"""What several modules of ``kdpipe.probes`` use; no plug-ins."""
