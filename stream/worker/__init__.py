"""The worker: its parts are built from settings, then started, run and drained."""
