"""Check whether plugins can run on this host, and say what to do if not."""
