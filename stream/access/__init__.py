"""Who may ask which model: principals of signed tokens, rules, and decisions about the events of a poll. Pure."""
