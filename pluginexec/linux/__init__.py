"""What needs only the kernel: pidfds, mounts, cgroups, inotify."""
