"""Mixtures made from recordings: a scene is a recipe and a seed."""
