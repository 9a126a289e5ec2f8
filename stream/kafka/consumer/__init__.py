"""Reading the input: the group, its positions and the consumer lag."""
