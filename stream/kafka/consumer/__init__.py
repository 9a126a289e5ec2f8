"""The consumer side: the group's source of records, its offsets and lag, and readers of topics without a group."""
