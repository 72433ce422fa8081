"""The doctor: can plugins run here, and what to do if not."""
