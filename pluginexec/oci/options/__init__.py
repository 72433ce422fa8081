"""Flags of docker and nerdctl that shape a container: text on the command line to fields of the OCI spec."""
