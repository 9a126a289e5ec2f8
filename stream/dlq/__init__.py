"""Dead letters for people: reading them, choosing among them, counting them, publishing them again."""
