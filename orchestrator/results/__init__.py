"""The results of a study: statistics, tables, figures and a report, made from its ledger alone."""
