"""Preparation recipes: ordered steps that are fitted to training rows and frozen into the steps of the preprocessing."""
