"""One set of events in every format."""
