"""From what user code writes (event files, log lines, records) to emetrics records.

Each extractor reads only new bytes, and its whole state is plain JSON: ``kill -9`` costs nothing.
"""
