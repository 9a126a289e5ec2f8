"""The order of the stages from poll to commit: micro-batches, reordering, commits and their failures."""
