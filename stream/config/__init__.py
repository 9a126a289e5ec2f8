"""Settings: their sections, where they come from, and how they are shown."""
