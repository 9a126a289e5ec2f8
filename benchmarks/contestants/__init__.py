"""The contestants: each a process that drains the same topic and prints its own figures."""
