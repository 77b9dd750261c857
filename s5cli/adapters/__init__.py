"""Adapters from scenes to tags."""
