"""Decision rules: pure functions of small arrays with a leading clip axis, free of torch."""
