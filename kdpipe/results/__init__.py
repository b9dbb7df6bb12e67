"""Records, statistics and tables: what turns measurements into an answer."""
