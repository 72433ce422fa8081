"""The plugins of one root as the command line keeps them: on disk, with no process of ours that must live."""
