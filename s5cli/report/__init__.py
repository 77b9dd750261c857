"""A run as pages to look at and listen to: a folder of static files that needs no server and no network."""
