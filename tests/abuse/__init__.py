"""Runs that are killed, frozen or starved: what they say, and that nothing is left of them."""
