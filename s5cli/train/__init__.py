"""Training: data, losses and one readable loop; recipes are TOML files in `recipes/`."""
