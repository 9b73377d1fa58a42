"""How quickly the running service answers: load over loopback from a process of its own, ratios in one run."""
