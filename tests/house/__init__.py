"""The house rules that no lint tool knows; each failure says how to pass."""
