"""The registry: parse `weights.toml`, locate, fetch, verify, load strictly, build systems."""
