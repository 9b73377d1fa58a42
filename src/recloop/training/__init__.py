"""Training of iterative models: passes, early stopping, checkpoints."""
