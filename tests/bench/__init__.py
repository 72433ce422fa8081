"""Benchmarks: what pluginexec costs beside what a user would otherwise pick, on real work, in one run."""
