"""The contestants. Each is a process that drains the same topic and prints its measurements."""
