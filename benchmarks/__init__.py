"""Forebay beside what one would write instead, on one broker. See README.md."""
