"""What cannot be imported."""

raise KeyError("loud")
