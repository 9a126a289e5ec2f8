"""Fitting preprocessing and nets, and measuring them."""
