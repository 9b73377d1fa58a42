"""Origins of interaction data, one file each."""
