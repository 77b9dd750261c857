"""One file per paper: the method from top to bottom."""
