"""A study and what is known of it: its recipes, its ledger on a storage, who may write there, its plan.

Why a ledger, and not Ray's `Tuner.restore`, which brings back an experiment from the snapshots that Tune takes of its
own state now and then:

- A study grows. Tune restores the grid that was there; here each submission may ask for other languages, weights and
  seeds, or for fewer. A trial's name is the hash of its recipe, so that any sweep finds what is there already.
- A finished trial is a fact. It is finished when one of its workers has written `result.json`, whatever becomes of
  the driver in the next moment; a snapshot is always a little older than what it tells of.
- It is read by anybody: JSON, a folder for each trial, without Ray, without the recipe's code and years later. Tune's
  state is pickled objects, which only the same code can load, and which can run any code when they are loaded.
- It has no runner in it. A study that was begun on a cluster goes on in this process, or on another cluster.

So Tune keeps its state in a scratch folder, and nothing rests on it.
"""
