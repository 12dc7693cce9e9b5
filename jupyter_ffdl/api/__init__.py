"""The door: HTTP and WebSocket under ``<base_url>ffdl/``, thin over the trainer."""
