"""Finished runs on their way into the challenge: packaged as a submission, and any submission validated.

To be read in this order: `label` has the name of a submitted system and all names that follow from it, `files` folders
and zips as trees of files, `meta` the meta file, whose keys stand in `schema.toml`. Packaging: `runs` says whether runs
may be submitted and makes the two result files of them, `macs` counts multiply-adds, `package` writes everything. The
rules that a submission must obey are in `validate`. Both use the first three and know nothing of each other.
"""
