"""The backend `python`: a function in a file."""
