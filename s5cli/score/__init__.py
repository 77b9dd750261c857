"""Scores of stems against references."""
