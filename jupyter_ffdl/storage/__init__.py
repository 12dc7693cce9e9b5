"""Data stores: where trainings get their data from and bring their results to."""
