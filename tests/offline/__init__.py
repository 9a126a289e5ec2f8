"""Tests of models without a broker."""
