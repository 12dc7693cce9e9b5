"""Accepts submissions and keeps the records, the queue, halt and delete."""
