"""One script per performance claim: each prints what it measured as a table and as a line of JSON."""
