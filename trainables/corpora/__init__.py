"""Speech corpora: one file per corpus, and what turns any of them into prepared splits and batches."""
