"""A model that answers: rows to scores, warmed up and checked."""
