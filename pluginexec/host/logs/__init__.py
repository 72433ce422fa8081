"""The logs of plugins: written by a driver, read in docker's format."""
