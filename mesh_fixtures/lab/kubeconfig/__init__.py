"""Labs of existing clusters: nothing is made there but a namespace for the run.

Nothing is imported here: options read `reference`, which the rest would make slow.
"""
