"""What a study shows: statistics, tables, figures and a report, made from its ledger alone."""
