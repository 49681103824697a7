"""Products: the model folder that a finished trial becomes, for others to load, and the card that says what it is."""
