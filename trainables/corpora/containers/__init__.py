"""Sound files whose container states no length, a wrong one, or that of the first of several joined files.

libsndfile believes what a container states and stops there, or fails when less comes. Encoders that write to a pipe
state nothing or the largest number, and files are joined by `cat`. So the structure of the four usual containers is
read first; where it and the stated length disagree, the streams in the file are given to libsndfile one by one, each
with the length that its structure has. What is in them is never changed. (libsndfile#1086, #1001, #1038.)
"""

from typing import BinaryIO

from trainables.corpora.containers import flac, mp3, ogg, wav
from trainables.corpora.containers.truncated import Truncated as Truncated


def streams(file: BinaryIO) -> list[bytes]:
    """The streams of a sound file, each as a file whose stated length is right; none where it is right as it is.

    Raises Truncated when the file ends within a frame, a page or a chunk that says how long it must be.
    """
    head = file.read(12)
    if wav.begins(head):
        return wav.streams(file)
    for container in (flac, ogg, mp3):
        if container.begins(head):
            return container.streams(head + file.read())
    return []


def check(file: BinaryIO) -> None:
    """Raises Truncated for a file that could not be decoded because its last frame is not whole."""
    file.seek(0)
    data = file.read()
    if flac.begins(data):
        flac.check(data)
