"""Evidently reports on what may have moved since the champion was trained."""
