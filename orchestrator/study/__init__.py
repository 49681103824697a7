"""What a study is and what is known of it: its recipes, its ledger on a storage, who may write there, its plan."""
