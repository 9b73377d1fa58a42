"""Tables, vocabularies, histories and splits: the data side of recommendation, independent of any model."""
