"""Finding the best items among all: exact search."""
