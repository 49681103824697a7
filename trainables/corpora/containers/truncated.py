"""The one thing that can be wrong with the structure of a sound file."""


class Truncated(ValueError):
    """A file that ends before the part of it that was begun last; the message says which part, with figures."""
