"""The demo: real flights of 2013 through a real worker."""
