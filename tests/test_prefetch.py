"""What is made ahead is the same, in order, and no thread is left."""

import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

from trainables.prefetch import AHEAD, ahead


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_the_same_items_in_order() -> None:
    assert list(ahead(iter(range(7)))) == list(range(7))
    assert list(ahead(iter([]))) == []
    assert not threads()


def test_an_item_is_made_while_the_one_before_is_in_use() -> None:
    made = [threading.Event() for _ in range(10)]

    def items() -> Iterator[int]:
        for i, event in enumerate(made):
            event.set()
            yield i

    for i in ahead(items()):
        assert made[min(i + AHEAD, len(made) - 1)].wait(5), "it was not made before it was asked for"


def test_an_error_comes_where_its_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    stream = ahead(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="no more"):
        next(stream)
    assert not threads()


def test_leaving_early_ends_the_thread() -> None:
    source = count()
    with closing(ahead(source)) as stream:
        assert next(stream) == 0
        assert threads()
    assert not threads()
    assert next(source) <= 2 + AHEAD
