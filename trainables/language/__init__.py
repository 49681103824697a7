"""Word language models, which decoders weigh against what a student hears."""
