"""Dead letters: read, filter, count, show and replay them."""
