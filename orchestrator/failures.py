"""What a study says when it cannot go on."""


class StudyFailed(RuntimeError):
    """A study cannot go on, or could not be recorded; the message is for the person who started it."""
