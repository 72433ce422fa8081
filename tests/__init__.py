"""Tests of pluginexec, most of them against a real containerd."""
