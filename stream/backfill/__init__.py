"""Back-fills: the events of a range of offsets, predicted again into topics of their own, and then the end."""
