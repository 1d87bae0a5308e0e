"""The gates of a dataset: leaks of test sets, duplicates, and the judge model."""
