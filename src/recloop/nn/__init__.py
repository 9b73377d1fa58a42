"""Parts that neural models share: losses, negative sampling, layers."""
