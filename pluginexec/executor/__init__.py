"""The executor: starts, supervises and restores plugins, and delivers each exit exactly once."""
