"""What a submission to the challenge is made of: labels, the meta file, and folders and zips as trees of files.

`s5cli.challenge.package` writes these things and `s5cli.challenge.validate` checks them; neither knows the other.
"""
