"""The parts of the sweep over HuBERT's students: its options, presets, rows and tables."""
