"""Texts from what CTC says of each frame: by the likeliest path, or by a search with a lexicon and a language model."""
