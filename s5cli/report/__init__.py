"""A run as pages to look at and listen to: a folder of static files that needs no server and no network.

To be read in this order: `collect` finds the clips of a run with their mixtures and references; `sounds` reads, scores
and draws their audio (`spectrogram` makes the pictures); `flags` says which clips deserve a look. `page` is the page of
a clip with its sounds (`cards`) and its decision trace, `listing` the list of all clips, both trees of `markup`. `write`
makes the folder out of them, in several processes if asked to. No system, stage or rule is known by name here: what a
run's records name is shown under that name.
"""
