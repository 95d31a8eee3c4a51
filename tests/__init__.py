"""The tests; README.md says what each folder may touch."""
