"""``python -m pluginexec`` is the command ``pluginexec``."""

from pluginexec.cli import main

if __name__ == "__main__":
    main()
