"""What lies where a file should, and what is said of it."""

import os

import pytest


def sentence_of(function, *arguments):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the caller looks at the message
        function(*arguments)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def dangle(clip):
    clip.symlink_to("nowhere/at/all")


def loop(clip):
    clip.symlink_to(clip.name)


def fill(clip):
    clip.mkdir()
    (clip / "inner.wav").write_bytes(b"RIFF")


def pipe(clip):
    os.mkfifo(clip)
