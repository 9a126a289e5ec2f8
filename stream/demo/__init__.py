"""The demo: a year of real flights through a real worker."""
