"""Words of docker, podman and nerdctl that are no command or option here: one line each, what to do instead.

A word that becomes a command leaves this table; ``tests/unit/cli/test_suggestions.py`` checks that.
"""

from __future__ import annotations

_NO_BUILDS = (
    "images are not built here; build with another tool, then use 'pluginexec load -i FILE' or 'pluginexec pull'"
)
_ROOTFS = "the root file system is a directory of the host: {} there"
_NO_NETWORKS = "a plugin is on the host's network or on none: 'pluginexec run --network host|none'"
_NO_VOLUMES = "there are no volumes; 'run -v /PATH:/PATH' mounts a directory"
_NO_CLUSTER = "there are no clusters; each root is on one host"
_NO_REGISTRY = "no registry is used; 'pluginexec plugin create NAME DIR' takes a directory or a tar"
_NO_GROUPS = "plugins are not grouped; start each with 'pluginexec run -d', and 'pluginexec serve' keeps them running"
_NO_TTY = "a plugin has neither terminal nor stdin; 'pluginexec exec -it ID CMD' has"
_RECREATE = "remove the plugin and create it anew: 'pluginexec rm ID', then 'pluginexec create'"

_GROUPS = ("plugin", "daemon", "run")
"""The first word of a row whose other words are commands or options of that command."""
_ROWS: tuple[tuple[str, str], ...] = (
    # Commands with another name, or in another place.
    ("restart", "use 'pluginexec stop ID', then 'pluginexec start ID'"),
    ("top", "use 'pluginexec exec ID ps', or 'pluginexec stats'"),
    ("container containers", "omit that word: 'pluginexec ps', 'pluginexec run', 'pluginexec rm'"),
    ("ls list", "use 'pluginexec ps'"),
    ("help", "use 'pluginexec --help'"),
    ("version", "use 'pluginexec --version', or 'pluginexec info' for containerd's"),
    ("system machine", "use 'pluginexec info', 'pluginexec daemon status' or 'pluginexec doctor'"),
    ("plugins", "use 'pluginexec plugin ls'"),
    ("status", "use 'pluginexec ps -a', or 'pluginexec daemon status'"),
    ("resume", "use 'pluginexec unpause ID'"),
    ("delete remove del", "use 'pluginexec rm ID'"),
    ("prune cleanup", "use 'pluginexec rm $(pluginexec ps -aq -f status=exited)'"),
    ("shell", "use 'pluginexec exec -it ID sh'"),
    ("shutdown", "use 'pluginexec daemon stop --all'"),
    ("debug", "use 'pluginexec --debug COMMAND' for the log of a command, 'pluginexec exec -it ID sh' for a shell"),
    ("healthcheck", "health checks are not run; use 'pluginexec exec ID CMD'"),
    # What has no counterpart.
    ("rename update", _RECREATE),
    ("port network netavark", _NO_NETWORKS),
    ("volume volumes", _NO_VOLUMES),
    ("cp", _ROOTFS.format("use 'cp'")),
    ("diff", _ROOTFS.format("use 'diff -r'")),
    ("mount unmount umount unshare", _ROOTFS.format("it is mounted")),
    ("export", _ROOTFS.format("use 'tar'")),
    ("image", "omit that word: 'pluginexec images', 'pull', 'rmi', 'tag', 'load', 'save'"),
    (
        "import",
        "use 'pluginexec run --rootfs DIR CMD' for a root file system, 'pluginexec load' for an archive of an image",
    ),
    ("history", "use 'pluginexec images --format json'"),
    ("search", "look on the registry's own pages, then 'pluginexec pull IMAGE'"),
    ("build buildx builder commit artifact manifest trust scout sbom init", _NO_BUILDS),
    ("push login logout", _NO_REGISTRY),
    ("compose pod kube play generate quadlet auto-update", _NO_GROUPS),
    ("swarm service stack node secret config context farm", _NO_CLUSTER),
    ("checkpoint", "checkpoints are not supported; 'pluginexec pause ID' stops the processes for a while"),
    ("namespace", "use 'pluginexec --namespace NAME COMMAND'"),
    ("plugin install", "use 'pluginexec plugin create NAME DIR', then 'pluginexec plugin enable NAME'"),
    ("plugin push", _NO_REGISTRY),
    ("plugin upgrade", "use 'pluginexec plugin disable', 'rm', 'create' and 'enable' with the new version"),
    ("plugin list ps", "use 'pluginexec plugin ls'"),
    ("plugin remove uninstall", "use 'pluginexec plugin rm NAME'"),
    ("plugin start", "use 'pluginexec plugin enable NAME'"),
    ("plugin stop", "use 'pluginexec plugin disable NAME'"),
    ("daemon start", "it is started by the first command that needs it, such as 'pluginexec run'"),
    ("daemon restart", "use 'pluginexec daemon stop'; the next command that needs it starts it again"),
    ("daemon logs", "'pluginexec daemon status' prints the path of its log"),
    # Options.
    ("run --interactive --tty -i -t", _NO_TTY),
    ("run --publish --publish-all --expose --link --dns --add-host --ip -p -P", _NO_NETWORKS),
    ("--host --context -H", "use '--address SOCK' for another containerd on this host"),
    ("run --health-cmd --health-interval --health-retries --health-timeout", "health checks are not run"),
)


def _by_word() -> dict[str, str]:
    answers = {}
    for words, answer in _ROWS:
        first, *others = words.split()
        if first in _GROUPS and others:
            answers.update(dict.fromkeys((f"{first} {word}" for word in others), answer))
        else:
            answers.update(dict.fromkeys((first, *others), answer))
    return answers


ANSWERS = _by_word()
"""What to do instead, for each word; that of a command or option of another command follows its name."""
