"""Starts, watches, halts and cleans up learners on a backend; never knows HTTP."""
