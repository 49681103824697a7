"""Work that is done while the step before it still runs.

A thread reads, pads and pins the next batches while the main thread trains. It changes no result: it alone calls
`next`, so that items come in their order, and each batch draws from a generator of its own, seeded by (seed, step,
utterance), never from one that the main thread uses too. How far ahead the thread is, and how many items were made in
vain when training ends or is killed, leaves no trace; a resumed run makes them again.
"""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
AHEAD = 2
"""Items that wait, ready to be used: one hides the mean time that it takes to make one, a second its variance."""


def ahead(items: Iterator[T]) -> Generator[T]:
    """Yield `items`, made by a thread before they are asked for; an error in making them is raised here.

    Close it where it is left early: the thread then ends, after at most `AHEAD` more items.
    """
    end: Any = object()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as pool:
        waiting = deque(pool.submit(next, items, end) for _ in range(AHEAD))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield item
