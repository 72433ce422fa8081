"""``pluginexec serve``: one supervisor for each plugin of a root."""
