"""Thresholds of any system searched on a development set, by exact replay of what its networks said once."""
