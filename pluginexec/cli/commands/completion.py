"""``pluginexec completion``: what a shell must know to complete our commands, options and ids."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pluginexec.cli.group import COMPLETE_VARIABLE, PROGRAM, cli

_SHELLS = ("bash", "zsh", "fish")


@click.command(name="completion")
@click.argument("shell", type=click.Choice(_SHELLS))
def command(shell: str) -> None:
    """Print the script that lets a shell complete commands, options and ids.

    \b
    For this session:
      bash   source <(pluginexec completion bash)
      zsh    source <(pluginexec completion zsh)
      fish   pluginexec completion fish | source
    For all sessions:
      bash   pluginexec completion bash > /etc/bash_completion.d/pluginexec
      zsh    pluginexec completion zsh > "${fpath[1]}/_pluginexec"
      fish   pluginexec completion fish > ~/.config/fish/completions/pluginexec.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    completion = kind(cli, {}, PROGRAM, COMPLETE_VARIABLE)
    # Not source(): for bash, that starts one to ask for its version.
    click.echo(completion.source_template % completion.source_vars())
