"""Metrics of recommendation, one small pure function a file."""
