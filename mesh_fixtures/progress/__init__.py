"""Progress of long work: events, what a person sees of them, and the times that they add up to."""

from mesh_fixtures.progress.events import Outcome, Progress, ProgressEvent, Sink, both, discard

__all__ = ["Outcome", "Progress", "ProgressEvent", "Sink", "both", "discard"]
