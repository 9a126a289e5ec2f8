"""The backend `trees`: ensembles of decision trees, stored as validated arrays, whatever library trained them."""
