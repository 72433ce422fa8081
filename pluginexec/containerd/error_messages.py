"""What ``ctr`` and ``runc`` print when they fail, mapped to the error tree: one table, here and nowhere else.

The texts come from containerd 1.6, 1.7 and 2.1. ``ctr`` up to 1.7 ends them with ``: unknown`` or ``: not found``,
2.x mostly does not, and either ``ctr`` may talk to either daemon; so no pattern relies on such an ending alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pluginexec.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PluginExecError,
    Unavailable,
    Unknown,
)

RUNTIME_STATE_IS_STALE = "container with given ID already exists"
"""runc's words for state left under its root by a container that containerd has forgotten."""

CANNOT_INVOKE = 126
NOT_FOUND = 127

_SHOWN = 600
_SEARCHED = 16_384
"""Characters that the patterns see: some take the square of the length, and rubbish can be long."""
_START_CONTAINERD = "is containerd running, and is this its socket? 'Containerd' starts a private one"
_INSTALL = "install it (Debian: apt-get install containerd runc), or name another"
_NOT_STOPPED = r"must be stopped before deletion|cannot delete a non stopped container|cannot delete running task"

# runc's words, and crun's.
_COMMAND_MISSING = r"exec: \"?.*(no such file or directory|not found in \$PATH)|executable file `.*` not found"
_COMMAND_REFUSED = (
    r"exec: \"?.*(permission denied|exec format error|(is|not) a directory|too many levels of symbolic links)"
    r"|open executable: permission denied"
)

# What a registry, or the way to it, has to do with: before containerd's own "connection refused".
_REGISTRY: tuple[tuple[str, type[PluginExecError], str | None], ...] = (
    (r"failed to resolve reference .*: not found", NotFound, "check the name and the tag"),
    (r"429 Too Many Requests|toomanyrequests", Unavailable, "the registry limits how often it is asked: try later"),
    (r"server gave HTTP response to HTTPS client", Unavailable, "the registry speaks HTTP: use 'pull --plain-http'"),
    (
        r"failed to (do request|authorize): .*(dial tcp|lookup|tls: |[Tt]imeout|x509|EOF|reset by peer)",
        Unavailable,
        "is the name of the registry right, and can it be reached from here?",
    ),
    (
        r"failed to (resolve|fetch|do request|copy|authorize).*"
        r"(\b40[13]\b|[Uu]nauthorized|Forbidden|authorization failed|insufficient_scope|no basic auth)",
        PermissionDenied,
        "the registry gives this image to some users only",
    ),
    (r"unexpected status.*: 5\d\d\b", Unavailable, "the registry failed: try later"),
    (r"unexpected commit (digest|size)|failed size validation", Unavailable, "the registry sent other data: try again"),
)

# The first pattern that is found decides, so the order matters: what names a cause stands before what names a class.
_TABLE: tuple[tuple[str, type[PluginExecError], str | None], ...] = (
    *_REGISTRY,
    # No way to containerd. Before "context deadline exceeded", which 1.6 and 1.7 say of a socket that is not there.
    (r"connect: permission denied", PermissionDenied, "run as root, or as a user who may open the socket"),
    (r"cannot access socket .*: permission denied", PermissionDenied, "run as root, or as a user who may open it"),
    (r"failed to dial|cannot access socket|connection refused|transport is closing", Unavailable, _START_CONTAINERD),
    (r"error reading from server|error reading server preface|code = Unavailable", Unavailable, _START_CONTAINERD),
    (r"context deadline exceeded|code = DeadlineExceeded|code = Canceled|context canceled", DeadlineExceeded, None),
    # A shortage, which may pass. runc does not say why it could not store its state; its disk is full.
    (r"no space left on device|unable to store init state|runtime-root/.*: read-only file system", Unavailable, None),
    (r"too many open files|failed to create new OS thread|resource temporarily unavailable", Unavailable, None),
    # runc's own words, which come before ctr's class.
    (re.escape(RUNTIME_STATE_IS_STALE), AlreadyExists, None),
    (
        r"unable to retrieve OCI runtime error .*(fork/exec|: exec: )",
        FailedPrecondition,
        _INSTALL,
    ),
    (r"mkdir /.*: file exists", AlreadyExists, "containerd left a bundle when it was killed: restart it"),
    (
        r"binary not installed|failed to start shim|invalid custom binary path|invalid runtime name",
        FailedPrecondition,
        _INSTALL,
    ),
    (r"failed to start binary process|unknown STDIO scheme", FailedPrecondition, "the logger needs /bin/sh"),
    (_COMMAND_MISSING, InvalidArgument, "give a program of the root file system"),
    (_COMMAND_REFUSED, InvalidArgument, "give a file that is executable"),
    (r"process property must not be empty|invalid rootfs|args must not be empty", InvalidArgument, None),
    (r"decoding spec config file failed|cannot load spec config file", InvalidArgument, None),
    (r"failed validation|must match \^|namespace validation|greater than maximum|key required", InvalidArgument, None),
    (r"invalid signal|unknown error after kill: .*invalid argument", InvalidArgument, None),
    (r"failed parsing subscription filters", InvalidArgument, None),
    (r"container id must be provided|container \"\" in namespace|namespace is required", InvalidArgument, None),
    (r"^setpriv: failed to execute", FailedPrecondition, _INSTALL),
    (r"flag provided but not defined|No help topic for", FailedPrecondition, "this ctr is too old or too new"),
    # States of a task.
    (_NOT_STOPPED, FailedPrecondition, None),
    (r"cannot (pause|resume|exec in|start) a ", FailedPrecondition, None),
    # The classes themselves, last.
    (r"already exists", AlreadyExists, None),
    (r"process already finished|no running (task|process) found|process does not exist", NotFound, None),
    (r"container does not exist", NotFound, None),
    (r"in namespace \".*\": not found|task \S+ not found|: not found", NotFound, None),
    (r"failed precondition", FailedPrecondition, None),
    (r": unavailable", Unavailable, _START_CONTAINERD),
    (r"invalid argument", InvalidArgument, None),
    (r"permission denied|operation not permitted", PermissionDenied, None),
)

# What the runtime could not do, as one sentence; the groups are its parts, and a pattern ends where the text does.
_SENTENCES: tuple[tuple[str, str], ...] = (
    (
        r"unable to retrieve OCI runtime error .*(?:fork/exec |: exec: \")([^:\"]*)\"?: (.*)$",
        "the runtime {!r} cannot be run: {}",
    ),
    (r"exec: \"([^\"]*)\": executable file not found in \$PATH", "{!r} is not on the PATH of the root file system"),
    (r"executable file `([^`]*)` not found in \$PATH", "{!r} is not on the PATH of the root file system"),
    (r"executable file `([^`]*)` not found", "{!r} is not in the root file system"),
    (r"exec: \"([^\"]*)\": .*no such file or directory$", "{!r} is not in the root file system"),
    (r"exec: \"([^\"]*)\": (?:.*: )?([^:]+)$", "{!r} cannot be executed: {}"),
    (r"open executable: ([^:]+)$", "the command cannot be executed: {}"),
    (r"chdir to cwd \(\"([^\"]*)\"\).* failed: (.*)$", "the working directory {!r} cannot be entered: {}"),
    (r"error mounting \"([^\"]*)\" to rootfs at \"([^\"]*)\": (?:.*: )?([^:]+)$", "{!r} cannot be mounted at {!r}: {}"),
    (r"invalid rootfs: stat ([^:]*): (.*)$", "the root file system {!r} cannot be used: {}"),
)
_CHAIN = re.compile(
    r"^(ctr: )?(failed to create (shim )?task( for container)?: )*OCI runtime (create|start|exec) failed: "
    r"(runc \w+ failed: |exec failed: )?(unable to start container process: )?(error during container init: )?"
    r"|^exec failed: (unable to start container process: )?"
)
"""What containerd, the shim and runc put before the cause, each its own words."""
_ENDINGS = re.compile(r"(: unknown| : unknown)$")


def invocation_code(error: PluginExecError) -> int | None:
    """Return the exit code for a command that could not be run, docker's and the shell's; ``None`` for other errors."""
    if not isinstance(error, InvalidArgument):  # such as a runtime that is missing
        return None
    if re.search(_COMMAND_MISSING, error.stderr, re.IGNORECASE):
        return NOT_FOUND
    return CANNOT_INVOKE if re.search(_COMMAND_REFUSED, error.stderr, re.IGNORECASE) else None


def container_missing(message: str, id: str) -> bool:
    """Return whether containerd did not find the container, and not only its task."""
    return f'container "{id}" in namespace' in message


def task_exists(message: str, id: str) -> bool:
    """Return whether containerd refused because of a task, not a container: the shim of an earlier one is left."""
    return f"task {id}: already exists" in message


def container_runs(message: str) -> bool:
    """Return whether containerd refused to delete something because it has not stopped."""
    return re.search(_NOT_STOPPED, message) is not None


def error_text(stderr: str) -> str:
    """Return the error text in ``stderr`` as one line: from the first line that starts with ``ctr: `` to the end."""
    # Lines before it are logrus warnings; the text itself may span lines (a logger that is missing, in 1.6 and 1.7).
    start = re.search(r"^ctr: ", stderr, re.MULTILINE)
    return " ".join(stderr[start.start() if start else 0 :].split())


def error_from_stderr(
    stderr: str, *, argv: Sequence[str], returncode: int, operation: str, id: str | None
) -> PluginExecError:
    """Return the error that a failed command's ``stderr`` stands for; ``Unknown`` where no pattern is found.

    Its message is one sentence where the runtime failed; the whole chain of causes stays in its ``stderr``.
    """
    text = _shorten(error_text(stderr), _SEARCHED)
    rows = (row for row in _TABLE if re.search(row[0], text, re.IGNORECASE))
    _, kind, hint = next(rows, ("", Unknown, None))
    message = _shorten(_sentence(text), _SHOWN) or f"{argv[0]} ended with code {returncode} and said nothing"
    return kind(message, operation=operation, id=id, argv=argv, returncode=returncode, stderr=stderr, hint=hint)


def _sentence(text: str) -> str:
    """Return what the runtime said about a start without the chain before it; any other text as it is."""
    chain = _CHAIN.match(text)
    if not chain:
        return text
    cause = _ENDINGS.sub("", text[chain.end() :])
    for pattern, sentence in _SENTENCES:
        if match := re.search(pattern, cause):
            return sentence.format(*match.groups())
    return f"the runtime cannot start it: {cause}" if cause else text


def _shorten(text: str, length: int) -> str:
    """Leave out the middle of a text that is long: the start names what was tried, the end the cause."""
    return text if len(text) <= length else f"{text[: length // 2]} ... {text[-length // 2 :]}"
