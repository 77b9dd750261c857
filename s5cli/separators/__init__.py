"""Adapters from scenes and queries to waveforms."""
