"""Studies of what each part of a system is worth, on any data set in official layout."""
