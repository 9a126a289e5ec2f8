"""The worker: its parts are built from the settings, started, run and drained."""
