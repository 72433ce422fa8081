"""What a crash leaves, and how it is found: shims, loggers, bundles, commands in flight."""
