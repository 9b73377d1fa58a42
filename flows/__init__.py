"""Prefect flows: when stages run, with which retries, and what the UI shows of them."""
