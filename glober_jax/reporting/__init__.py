"""What is said about a run: its summary, evaluations, report."""
