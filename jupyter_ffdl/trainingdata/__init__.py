"""What learners recorded, read back: logs, emetrics records, scalars.

Readers are plain blocking functions over a training folder, parse no user format and import
neither tornado nor pydantic. ``record`` also belongs to the learner, who writes what we read.
"""
