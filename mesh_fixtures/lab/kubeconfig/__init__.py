"""Labs of clusters that somebody else made: only namespaces of a run's own are made there.

Nothing is imported here: options read `reference`, which the rest would make slow.
"""
