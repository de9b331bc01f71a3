"""What does not fit into a test run: the same as some tests, for as long as one likes (scripts/torture)."""
