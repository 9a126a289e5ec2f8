"""The objective on latency: what is measured, which limits follow from it, and what to report when it is not met. Pure."""
