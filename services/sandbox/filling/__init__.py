"""Rows of ours for a database whose writer left none, or none that its gold finds."""
