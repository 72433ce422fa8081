"""Docker managed plugins without Docker: from ``config.json`` to a plugin that answers on its socket."""
