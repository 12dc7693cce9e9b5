"""The local backend: learners are processes, each training under a supervisor of its own."""
