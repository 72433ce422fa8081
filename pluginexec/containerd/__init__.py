"""Everything said to containerd and runc: commands, events, errors, versions."""
