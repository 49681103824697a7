"""Interpolated modified Kneser-Ney (Chen & Goodman 1998, TR-10-98, §4.1.6 and eq. 26): an n-gram model from sentences.

    p(w | h) = max(c(hw) - D(c(hw)), 0) / c(h·) + γ(h) p(w | h')     h' is h without its first word
    γ(h)     = Σ_w D(c(hw)) / c(h·)                                  the mass that the discounts took from h
    D_k      = k - (k+1) Y n_(k+1)/n_k,   Y = n_1 / (n_1 + 2 n_2)    for counts k = 1, 2 and 3 or more, by order

The longest n-grams have their counts c; of shorter ones it is counted how many different words stand before them, which
says how likely they are where nothing longer is known. Nothing stands before `<s>`: n-grams that begin with it keep
their counts. p(w | nothing) is interpolated with 1/|V|, where V has all words, `</s>` and `<unk>`, and never `<s>`: so
`<unk>` has the probability of a word that was not seen.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from trainables.language.ngram import END, MARKS, NEVER, ORDERS, START, UNKNOWN, Ngram, Words

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where counts of counts give none, as in tiny texts; KenLM's `--discount_fallback` has the same."""
Discounts = tuple[float, float, float]


def estimate(sentences: Iterable[Sequence[str]], order: int) -> Ngram:
    """The model of n-grams of up to `order` words, 1 to 4, of sentences that are sequences of words.

    Where counts of counts make no discounts, an order has those of `FALLBACK`.
    Raises ValueError for another order, for no sentence, and for a word that is a mark or has a space in it.
    """
    if order not in ORDERS:
        raise ValueError(f"`order` must be {ORDERS[0]} to {ORDERS[-1]}, but is {order} instead.")
    counts = _adjusted(_counted(sentences, order))
    vocabulary = {*counts[0], (END,), (UNKNOWN,)}
    entries: dict[Words, tuple[float, float]] = {(START,): (NEVER, 0.0)}
    lower, before = dict.fromkeys(vocabulary, 1 / len(vocabulary)), 0
    for of_order in counts:
        discount = discounts(Counter(of_order.values()))
        totals, taken = Counter[Words](), defaultdict[Words, float](float)
        for ngram, count in of_order.items():
            totals[ngram[:-1]] += count
            taken[ngram[:-1]] += _of(discount, count)
        gamma = {history: taken[history] / total for history, total in totals.items()}
        ngrams = vocabulary if not before else of_order
        # A word alone is interpolated with 1/|V|, and all of the vocabulary has it, whatever was counted.
        probabilities = {
            ngram: (of_order[ngram] - _of(discount, of_order[ngram])) / totals[ngram[:-1]]
            + gamma[ngram[:-1]] * lower[ngram[1:] or ngram]
            for ngram in sorted(ngrams)
        }
        for history in gamma.keys() - {()}:
            entries[history] = entries[history][0], math.log10(gamma[history])
        entries |= {ngram: (min(math.log10(p), 0.0), 0.0) for ngram, p in probabilities.items()}
        lower, before = probabilities, before + 1
    return Ngram(entries)


def discounts(counts_of_counts: Mapping[int, int]) -> Discounts:
    """D_1, D_2 and D_3+ from how many n-grams have each count (eq. 26).

    `FALLBACK` where no n-gram has one of the counts 1 to 3, and where one of them is not above 0: an n-gram would have
    less than nothing taken from it, or a history nothing left for what did not follow it.
    """
    n = [counts_of_counts.get(count, 0) for count in range(1, 5)]
    if not all(n[:3]):
        return FALLBACK
    y = n[0] / (n[0] + 2 * n[1])
    first, second, third = (k - (k + 1) * y * n[k] / n[k - 1] for k in (1, 2, 3))
    return (first, second, third) if min(first, second, third) > 0 else FALLBACK


def _of(discount: Discounts, count: int) -> float:
    return discount[min(count, 3) - 1] if count else 0.0


def _counted(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[Words]]:
    """How often each n-gram of 1 to `order` words is in the sentences with their marks, by order."""
    counts = [Counter[Words]() for _ in range(order)]
    some = False
    for words in sentences:
        for word in words:
            if word in MARKS or word.split() != [word]:
                raise ValueError(f"A word must be without spaces and no mark of sentences, but {word!r} is not.")
        marked, some = (START, *words, END), True
        for length, of_order in enumerate(counts, 1):
            of_order.update(marked[i : i + length] for i in range(len(marked) - length + 1))
    if not some:
        raise ValueError("A language model must be estimated from at least one sentence, but there is none.")
    del counts[0][(START,)]  # it is never predicted
    return [of_order for of_order in counts if of_order]


def _adjusted(counts: list[Counter[Words]]) -> list[Counter[Words]]:
    """Counts of the longest n-grams as they are; of shorter ones, of different words before them."""
    adjusted = []
    for shorter, longer in pairwise(counts):
        preceded = Counter(ngram[1:] for ngram in longer)
        first = {ngram: count for ngram, count in shorter.items() if ngram[0] == START}
        adjusted.append(preceded + Counter(first))
    return [*adjusted, counts[-1]]
