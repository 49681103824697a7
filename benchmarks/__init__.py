"""One script per claim of speed: each prints what it measured as a table and as a line of JSON."""
