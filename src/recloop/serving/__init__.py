"""The recommendation service: bundle in, answers out."""
