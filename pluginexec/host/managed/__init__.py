"""The managed plugins of a root on disk, as ``pluginexec plugin`` works on them."""
