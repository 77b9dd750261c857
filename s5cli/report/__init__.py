"""A run as pages to look at and listen to: a folder of static files that needs no server and no network.

To be read in this order: `collect` finds the clips of a run with their mixtures and references; `sounds` reads, scores
and draws their audio (`spectrogram` makes the pictures); `flags` says which clips deserve a look. `page` is the page of
a clip, with its sounds (`cards`) and the decision trace of its queries; `listing` is the list of all clips; `markup` is
what both are made of. `write` makes the folder, in several processes if asked to. No system, stage or rule is known by
name here: what a run's records name is shown under that name.
"""
