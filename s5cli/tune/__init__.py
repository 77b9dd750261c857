"""Thresholds of any system searched on a development set, by exact replay of what its networks said once.

To be read in this order: `clips` (the development set), `evidence` (cached results on disk), `cache` (steps that look
there first), `replay` (the system's decisions over cached results), `score` (exact scores of all clips at once),
`trials` (settings to scores, within a budget), `search`, `crossval`, `tuner` (all of it), `result` and `plots`.
"""
