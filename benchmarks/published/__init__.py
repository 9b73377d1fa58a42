"""Gates: what a model reaches on real data, next to what was published for the same protocol."""
