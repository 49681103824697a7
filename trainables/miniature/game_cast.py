"""Who speaks in the miniature of LibriSpeech, and in which of its subsets.

Speakers are the games' characters. Which actor speaks which character of Amazon Queen stands in the game's own credits
(CREDIT2.CRD in `queen.1c`), so that no actor who is tested or selected by is trained on. Of Drascula the actors are not
known. Amazon Queen and Asterisk are `clean`; Drascula, in 8 bits, is `other`. Animals, and who has no name, are left
out. As in LibriSpeech, a speaker is in one subset only.
"""

from trainables.miniature import asterisk
from trainables.miniature.books import Speaker

TRAIN = ("train-clean-100", "train-clean-360", "train-other-500")
"""The subsets that are trained on: the first stands for 100 h with transcripts, all of them for 960 h without."""
HELD_OUT = {"dev-clean": 240.0, "dev-other": 150.0, "test-clean": 110.0, "test-other": 150.0}
"""The subsets that are not, with the most seconds that each takes of a speaker."""

# Sex, subset and characters of each actor. Who shares a character (Lola, Klunk, Rico) is trained on.
_ACTORS = (
    ("M", "train-clean-360", "queen", ("Joe King",)),  # Brad Lavelle
    ("M", "train-clean-100", "queen", ("Sparky",)),  # Tom Hill
    ("M", "train-clean-360", "queen", ("Jimmy", "Skip", "Wedgewood", "Eddy", "Rico", "prisoner")),
    ("M", "train-clean-100", "queen", ("Frank",)),  # Bill Hootkins
    ("M", "train-clean-360", "queen", ("Bud", "John", "chef", "bellboy")),
    ("M", "train-clean-100", "queen", ("ferryman", "Henry")),  # Enn Reitel
    ("M", "train-clean-360", "queen", ("Klunk", "Anderson", "Hugh")),  # and Mike Hurley
    ("M", "train-clean-100", "queen", ("Trader Bob",)),  # Jon Coleman
    ("F", "train-clean-100", "queen", ("Princess Azura", "Lola", "showering Amazon")),  # Debbie Arnold
    ("F", "train-clean-100", "queen", ("Mary-Lou",)),  # Regina Reagan
    ("F", "train-clean-360", "queen", ("witch doctor",)),
    ("F", "dev-clean", "queen", ("Faye", "Rita")),  # Lisa Valdez
    ("M", "test-clean", "queen", ("Ian", "chief")),  # Barry James
    ("F", "test-clean", "queen", ("guardian",)),  # Penelope Keith
    ("F", "test-clean", "queen", ("Naomi", "secretary", "zombie woman")),  # Jessica Martin
    ("F", "train-clean-360", "asterisk", (asterisk.SPEAKER,)),
    ("M", "train-other-500", "drascula", ("John Hacker",)),
    ("F", "train-other-500", "drascula", ("BJ",)),
    ("M", "dev-other", "drascula", ("Von Braun", "bartender", "drunkard")),
    ("M", "test-other", "drascula", ("Count Drascula", "werewolf", "Igor", "musician", "pianist")),
)
SPEAKERS = {
    name: Speaker(number, name, sex, subset)
    for number, (name, sex, subset) in enumerate(
        sorted((f"{game} {who}", sex, subset) for sex, subset, game, names in _ACTORS for who in names), 1
    )
}
"""Speakers as recordings name them: source and character. Their numbers go by these names."""
