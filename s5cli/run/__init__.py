"""A run: recordings in, a folder of stems out."""
