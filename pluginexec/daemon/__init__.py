"""A private containerd: started, supervised, stopped, cleaned up."""
