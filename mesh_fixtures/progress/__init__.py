"""Progress of long work: events, what a person sees of them, and the times that they add up to."""

from mesh_fixtures.progress.events import Event, Outcome, Progress, Sink, both, discard

__all__ = ["Event", "Outcome", "Progress", "Sink", "both", "discard"]
