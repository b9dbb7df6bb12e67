"""The words, sentences and page of the report."""
