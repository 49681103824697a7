"""Short everyday sentences to synthesise, made of words written for this purpose."""

import itertools
import random
from typing import NamedTuple

from trainables.miniature.release import SPLITS, Split, split_of


class Words(NamedTuple):
    """Parts of "SUBJECT VERB OBJECT WHERE" and "SUBJECT VERB NUMBER THINGS WHERE", inflected to fit."""

    subjects: str
    verbs: str
    objects: str
    numbers: str
    things: str
    places: str


WORDS = {
    "cs": Words(
        subjects="moje sestra, malý chlapec, starý soused, naše babička, učitelka, pekař, doktor, "
        "mladá žena, můj bratr, celá rodina",
        verbs="vidí, hledá, nese, kupuje, má, chce, najde, ztratí, kreslí, prodává",
        objects="červené jablko, nový dům, starou knihu, čerstvý chléb, velký stůl, bílou květinu, "
        "teplý čaj, dřevěnou židli, modrý kabát, dlouhý dopis, klíč, lampu",
        numbers="pět, šest, sedm, osm, devět, deset, dvanáct, dvacet",
        things="jablek, knih, stolů, klíčů, dopisů, květin",
        places="dnes ráno, každý den, v kuchyni, na zahradě, ve škole, po večeři, u řeky, v lese, na trhu",
    ),
    "ro": Words(
        subjects="sora mea, băiatul mic, vecinul bătrân, bunica noastră, învățătoarea, brutarul, doctorul, "
        "femeia tânără, fratele meu, toată familia",
        verbs="vede, caută, aduce, cumpără, are, vrea, găsește, pierde, desenează, vinde",
        objects="un măr roșu, o casă nouă, o carte veche, pâine proaspătă, o masă mare, o floare albă, "
        "un ceai cald, un scaun de lemn, o haină albastră, o scrisoare lungă, o cheie, o lampă",
        numbers="două, trei, patru, cinci, șase, șapte, opt, zece",
        things="mere, cărți, mese, chei, scrisori, flori",
        places="în dimineața asta, în fiecare zi, în bucătărie, în grădină, la școală, după cină, lângă râu, "
        "în pădure, la piață",
    ),
}


def sentences(locale: str, wanted: dict[Split, int]) -> dict[Split, list[str]]:
    """As many sentences for each split as are wanted, always the same ones, none in two splits."""
    everything = _all(WORDS[locale])
    random.Random(locale).shuffle(everything)
    chosen: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for sentence in everything:
        split = split_of(sentence, locale)
        if len(chosen[split]) < wanted[split]:
            chosen[split].append(sentence)
    return chosen


def _all(words: Words) -> list[str]:
    subjects, verbs, objects, numbers, things, places = (group.split(", ") for group in words)
    counted = [f"{number} {thing}" for number, thing in itertools.product(numbers, things)]
    combinations = itertools.product(subjects, verbs, objects + counted, places)
    return [f"{' '.join(parts).capitalize()}." for parts in combinations]
