"""From a cell, a file or a manifest to what is submitted."""
