"""``pluginexec completion``: print a shell completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pluginexec.cli.group import COMPLETE_VARIABLE, PROGRAM, cli
from pluginexec.cli.output import put

_SHELLS = ("bash", "zsh", "fish")
_HELP = """Print a shell completion script for commands, options and ids.

\b
For the current session:
  bash   source <(pluginexec completion bash)
  zsh    source <(pluginexec completion zsh)
  fish   pluginexec completion fish | source
For all sessions:
  bash   pluginexec completion bash > /etc/bash_completion.d/pluginexec
  zsh    pluginexec completion zsh > "${fpath[1]}/_pluginexec"
  fish   pluginexec completion fish > ~/.config/fish/completions/pluginexec.fish
"""


@click.command(name="completion", help=_HELP)
@click.argument("shell", type=click.Choice(_SHELLS))
def command(shell: str) -> None:
    """Print the script."""
    completion_class = get_completion_class(shell)
    assert completion_class is not None
    completion = completion_class(cli, {}, PROGRAM, COMPLETE_VARIABLE)
    # Not source(), which starts bash to check its version.
    put(completion.source_template % completion.source_vars())
