"""Training of any model on any data: passes, validation, early stopping, checkpoints and curves."""
