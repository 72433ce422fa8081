"""OCI runtime specs, and docker's flags as fields of one."""
