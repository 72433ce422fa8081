"""The plugins of one root as the command line keeps them: on disk, without a process that must keep running."""
