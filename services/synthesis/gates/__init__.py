"""What a collected dataset is held against: test sets, and itself. Pure; one file a gate."""
