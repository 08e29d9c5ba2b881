"""What a run leaves in databases: the journal's entries as rows, exactly once; see README.md."""
