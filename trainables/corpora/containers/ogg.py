"""OGG (RFC 3533): pages, each with the lengths of its segments; files that are joined are further links of a chain."""

from trainables.corpora.containers.truncated import Truncated

FIRST = 0x02
"""Flag of the pages that a link of a chain begins with, one for each of its streams."""


def begins(head: bytes) -> bool:
    """Whether a file with these first 12 bytes is an OGG."""
    return head[:4] == b"OggS"


def streams(data: bytes) -> list[bytes]:
    """The streams of a file, each as a file whose stated length is right; none where the file is right as it is.

    libsndfile decodes the first link of a chain.

    Raises Truncated when the last page is not whole.
    """
    starts, opening = [0], True
    position = 0
    while position >= 0 and position + 27 <= len(data):
        first = bool(data[position + 5] & FIRST)
        if first and not opening:
            starts.append(position)
        opening = first
        segments = data[position + 27 : position + 27 + data[position + 26]]
        end = position + 27 + data[position + 26] + sum(segments)
        if end > len(data):
            raise Truncated(f"the last page ends after {len(data) - position} of {end - position} bytes")
        position = data.find(b"OggS", end)  # what is between two pages is not of the stream
    if position >= 0:
        raise Truncated(f"the last page ends after {len(data) - position} bytes, in its header")
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)] if len(starts) > 1 else []
