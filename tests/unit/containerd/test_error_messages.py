"""What ``ctr`` and ``runc`` print when they fail, and the error that each text becomes.

The texts are those of containerd 1.6.20, 1.7.24 and 2.1.9, collected from the real ones; no command runs here.
"""

# ruff: noqa: E501 -- the texts are quoted as they come.

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator

import pytest

from pluginexec.containerd.error_messages import (
    RUNTIME_STATE_IS_STALE,
    container_runs,
    error_from_stderr,
    error_text,
    invocation_code,
    task_exists,
)
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

IDENTIFIER = "must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument"
SHIM = "failed to create shim task: "
START = SHIM + "OCI runtime create failed: runc create failed: unable to start container process: "
EXEC = "OCI runtime exec failed: exec failed: unable to start container process: "
RUNTIME = (
    SHIM
    + "OCI runtime create failed: unable to retrieve OCI runtime error (open /s/log.json: no such file or directory): "
)
RESOLVE = "failed to start shim: failed to resolve runtime path: "
PREFACE = "error reading server preface: read unix @->/s: use of closed network connection"

# What ctr says after "ctr: "; in <> what some versions, or a newer ctr with an older daemon, leave out.
TEXTS: dict[type[PluginExecError], tuple[str, ...]] = {
    NotFound: (
        'container "X" in namespace "N": not found',
        "no running task found: task X not found<: not found>",
        "task X not found<: not found>",
        "no running task found: container not created: not found",
        "process does not exist E: not found",
        "no running process found: process does not exist E: not found",
        "process already finished<: not found>",
    ),
    AlreadyExists: (
        'container "X": already exists',
        "task X: already exists<: unknown>",
        "id E: already exists<: unknown>",
        'namespace "N": already exists',
        SHIM + f"OCI runtime create failed: runc create failed: {RUNTIME_STATE_IS_STALE}<: unknown>",
    ),
    InvalidArgument: (
        f'create container failed validation: container.ID: identifier "X" {IDENTIFIER}',
        'create container failed validation: container.ID: identifier "X" greater than maximum length (76 characters): invalid argument',
        f'invalid exec id E: identifier "E" {IDENTIFIER}',
        f'<rpc error: code = InvalidArgument desc = >namespace validation: identifier "N" {IDENTIFIER}',
        "<rpc error: code = FailedPrecondition desc = >namespace is required: failed precondition",
        "container id must be provided<: invalid argument>",
        'container "" in namespace "N": not found',
        "label key and value greater than maximum size (4096 bytes), key: K: invalid argument",
        "label key and value length (5000 bytes) greater than maximum size (4096 bytes), key: K: invalid argument",
        "label key required<: unknown>",
        "decoding spec config file failed, current supported OCI runtime-spec : v1.0.2-dev: unexpected EOF",
        "cannot load spec config file: open /c: no such file or directory",
        SHIM + "OCI runtime create failed: runc create failed: process property must not be empty<: unknown>",
        SHIM
        + "OCI runtime create failed: runc create failed: invalid rootfs: stat /r: no such file or directory<: unknown>",
        START + 'exec: "/no": stat /no: no such file or directory<: unknown>',
        START + 'exec: "no": executable file not found in $PATH<: unknown>',
        START + 'exec: "/etc": permission denied<: unknown>',
        START + 'exec: "/l": stat /l: too many levels of symbolic links<: unknown>',
        SHIM
        + "OCI runtime create failed: executable file `no` not found in $PATH: No such file or directory<: unknown>",
        SHIM + "OCI runtime create failed: open executable: Permission denied<: unknown>",
        EXEC + 'exec: "no": executable file not found in $PATH<: unknown>',
        "invalid signal: NOSUCH",
        "something new: invalid argument",
        "unknown error after kill: runc did not terminate successfully: exit status 1: invalid argument\n<: unknown>",
        "rpc error: code = Unknown desc = subscription error: failed parsing subscription filters: filters: parse error: [topic==/ >|/|< tasks]: unexpected input<: invalid argument>",
    ),
    FailedPrecondition: (
        RUNTIME + "fork/exec /no/runc: no such file or directory<: unknown>",
        RUNTIME + "fork/exec /no/runc: permission denied<: unknown>",
        RUNTIME + 'exec: "no-runc": executable file not found in $PATH<: unknown>',
        RESOLVE + 'runtime "R" binary not installed "containerd-shim-r-v1": file does not exist<: unknown>',
        RESOLVE + "invalid custom binary path: stat /no: no such file or directory<: unknown>",
        RESOLVE
        + "invalid runtime name R, correct runtime name should be either format like `io.containerd.runc.v2` or a full path to the binary<: unknown>",
        "invalid runtime name R",
        SHIM
        + "failed to create init process I/O: 1 error occurred:\n\t* failed to start binary process: "
        + "fork/exec /no/sh: no such file or directory\n\n<: unknown>",
        SHIM + "failed to create init process I/O: failed to start binary process: fork/exec /no/sh: permission denied",
        SHIM + "failed to create init process I/O: unknown STDIO scheme fifo<: unknown>",
        "task must be stopped before deletion: running: failed precondition",
        "task must be stopped before deletion: paused: failed precondition",
        "task must be stopped before deletion: created: failed precondition",
        "cannot delete a non stopped container: {running 0 0001-01-01 00:00:00 +0000 UTC}",
        "current process state: running, process must be stopped before deletion: failed precondition",
        "cannot pause a paused container<: unknown>",
        "cannot pause a stopped container<: unknown>",
        "cannot resume a running process<: unknown>",
        "cannot resume a stopped container<: unknown>",
        "cannot exec in a stopped state<: unknown>",
        "flag provided but not defined: -runc-root",
        "cannot delete running task X<: failed precondition>",
        "something new: failed precondition",
    ),
    Unavailable: (
        SHIM
        + "OCI runtime create failed: runc create failed: mkdir /r/runtime-root/n/x: no space left on device<: unknown>",
        SHIM
        + "OCI runtime create failed: runc create failed: mkdir /r/runtime-root/n/x: read-only file system<: unknown>",
        START + "error during container init: unable to store init state: %!w(<nil>)<: unknown>",
        "failed to start shim: start failed: : pipe2: too many open files<: unknown>",
        "rpc error: code = Unavailable desc = transport is closing",
        "connection closed: unavailable",
        "rpc error: code = Unavailable desc = error reading from server: EOF",
        'failed to dial "/s": context deadline exceeded<: connection error: desc = "transport: error while dialing: dial unix:///s: timeout">',
        "cannot access socket /s: stat /s: no such file or directory",
        'failed to dial "/s": connection error: desc = "transport: error while dialing: dial unix /s: connect: connection refused"',
        '<rpc error: code = Unavailable desc = >connection error: desc = "transport: Error while dialing: dial unix /s: connect: connection refused"',
        'failed to dial "/s": timed out waiting for server handshake',
        f'failed to dial "/s": context deadline exceeded: connection error: desc = "{PREFACE}"',
        f'rpc error: code = Unavailable desc = connection error: desc = "{PREFACE}"',
    ),
    PermissionDenied: (
        'failed to dial "/s": connection error: desc = "transport: error while dialing: dial unix /s: connect: permission denied"',
        '<rpc error: code = Unavailable desc = >connection error: desc = "transport: Error while dialing: dial unix /s: connect: permission denied"',
        "cannot access socket /s: stat /s: permission denied",
        "something new: permission denied<: unknown>",
        "something new: operation not permitted<: unknown>",
    ),
    DeadlineExceeded: (
        "context deadline exceeded<: unknown>",
        "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
        "rpc error: code = DeadlineExceeded desc = stream terminated by RST_STREAM with error code: CANCEL: context deadline exceeded",
    ),
    Unknown: (
        "something that nobody has seen yet<: unknown>",
        "",
    ),
}

WARNINGS = (
    'time="2026-11-23T13:29:04Z" level=warning msg="DEPRECATION: The `bin_dir` property was not found"\n'
    'time="2026-11-23T13:29:04Z" level=warning msg="Failed to check deprecations" error="connection refused"\n'
    'time="2026-11-23T13:29:04Z" level=error msg="failed to delete container: permission denied"\n'
)


def with_and_without(text: str) -> Iterator[str]:
    """Make every wording of a text whose optional parts stand in ``<>``."""
    parts = re.split(r"<(: [^<>]*|[^<>]* )>", text)
    choices = [("", part) if index % 2 else (part,) for index, part in enumerate(parts)]
    return ("".join(chosen) for chosen in itertools.product(*choices))


WORDINGS = [
    pytest.param(f"{wording}\n", kind, id=f"{kind.__name__}-{row}-{number}")
    for kind, texts in TEXTS.items()
    for row, text in enumerate(texts)
    for number, wording in enumerate(with_and_without(text))
]


def error_from(stderr: str) -> PluginExecError:
    return error_from_stderr(stderr, argv=["ctr", "run"], returncode=1, operation="run", id="X")


@pytest.mark.parametrize(("text", "kind"), WORDINGS)
def test_each_wording_of_each_version_becomes_the_right_class(text: str, kind: type[PluginExecError]) -> None:
    assert type(error_from(f"ctr: {text}")) is kind


@pytest.mark.parametrize(("text", "kind"), WORDINGS)
def test_warnings_before_the_complaint_change_nothing(text: str, kind: type[PluginExecError]) -> None:
    assert type(error_from(f"{WARNINGS}ctr: {text}")) is kind
    assert str(error_from(f"{WARNINGS}ctr: {text}")) == str(error_from(f"ctr: {text}"))


@pytest.mark.parametrize(("text", "kind"), WORDINGS)
def test_each_message_is_one_lowercase_line(text: str, kind: type[PluginExecError]) -> None:
    message = str(error_from(f"ctr: {text}"))
    assert message.isprintable()
    assert message.startswith("run 'X': ")
    assert "OCI runtime create" not in message
    assert "unable to start container process" not in message


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        pytest.param("No help topic for 'nosuch'\n", FailedPrecondition, id="ctr-without-the-subcommand"),
        pytest.param('time="t" level=error msg="container does not exist"\n', NotFound, id="runc"),
        pytest.param("panic: runtime error\n\ngoroutine 1 [running]:\n", Unknown, id="panic"),
        pytest.param("\ufffd\ufffd\0\n", Unknown, id="rubbish"),
    ],
)
def test_a_complaint_without_ctrs_prefix_is_read_as_a_whole(stderr: str, kind: type[PluginExecError]) -> None:
    assert type(error_from(stderr)) is kind
    assert "\n" not in str(error_from(stderr))


def test_a_complaint_of_several_lines_becomes_one() -> None:
    assert error_text("time=... level=warning\nctr: one:\n\t* two\n\n: unknown\n") == "ctr: one: * two : unknown"


def test_ctr_in_the_middle_of_a_line_starts_no_complaint() -> None:
    assert error_text("a ctr: b\nctr: c\n") == "ctr: c"


def test_an_error_carries_all_that_is_known_of_the_command() -> None:
    error = error_from(f"{WARNINGS}ctr: no running task found: task X not found\n")
    assert (error.operation, error.id, error.argv, error.returncode) == ("run", "X", ("ctr", "run"), 1)
    assert error.stderr == f"{WARNINGS}ctr: no running task found: task X not found\n"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        pytest.param(
            "cannot access socket /s: stat /s: no such file or directory", "is containerd running", id="socket"
        ),
        pytest.param('failed to dial "/s": dial unix /s: connect: permission denied', "run as root", id="permission"),
        pytest.param(f"{RUNTIME}fork/exec runc: no such file or directory", "install", id="runtime"),
        pytest.param(f'{START}exec: "no": executable file not found in $PATH', "program", id="executable"),
    ],
)
def test_a_person_who_can_do_something_is_told_what(text: str, advice: str) -> None:
    assert advice in str(error_from(f"ctr: {text}\n").hint)


@pytest.mark.parametrize(
    ("chain", "sentence", "code"),
    [
        (
            START + 'exec: "no": executable file not found in $PATH',
            "'no' is not on the PATH of the root file system",
            127,
        ),
        (START + 'exec: "/no": stat /no: no such file or directory', "'/no' is not in the root file system", 127),
        (START + 'exec: "/etc": permission denied', "'/etc' cannot be executed: permission denied", 126),
        (START + 'exec: "/etc": is a directory', "'/etc' cannot be executed: is a directory", 126),
        (START + 'exec: "/x": exec format error', "'/x' cannot be executed: exec format error", 126),
        (START + 'exec: "/a/b": stat /a/b: not a directory', "'/a/b' cannot be executed: not a directory", 126),
        (
            START + 'exec: "/l": stat /l: too many levels of symbolic links',
            "'/l' cannot be executed: too many levels of symbolic links",
            126,
        ),
        (
            EXEC + 'exec: "no": executable file not found in $PATH',
            "'no' is not on the PATH of the root file system",
            127,
        ),
        (
            SHIM + "OCI runtime create failed: executable file `no` not found in $PATH: No such file or directory",
            "'no' is not on the PATH of the root file system",
            127,
        ),
        (
            START + 'chdir to cwd ("/d") set in config.json failed: no such file or directory',
            "the working directory '/d' cannot be entered: no such file or directory",
            None,
        ),
        (
            START
            + 'error during container init: error mounting "/s" to rootfs at "/d": mount /s:/d (via /proc/self/fd/6),'
            " flags: 0x5000: no such file or directory",
            "'/s' cannot be mounted at '/d': no such file or directory",
            None,
        ),
        (
            START + 'error during container init: error mounting "/s" to rootfs at "/d": mount src=/s, dst=/d,'
            " dstFd=/proc/thread-self/fd/11, flags=MS_BIND|MS_REC: not a directory",
            "'/s' cannot be mounted at '/d': not a directory",
            None,
        ),
        (
            SHIM + "OCI runtime create failed: runc create failed: invalid rootfs: stat /r: no such file or directory",
            "the root file system '/r' cannot be used: no such file or directory",
            None,
        ),
        (
            "failed to create task for container: " + SHIM + "OCI runtime create failed: runc create failed: a: b",
            "the runtime cannot start it: a: b",
            None,
        ),
        (START + "error during container init: mkdir /a: b", "the runtime cannot start it: mkdir /a: b", None),
        (
            RUNTIME + "fork/exec /no/runc: permission denied",
            "the runtime '/no/runc' cannot be run: permission denied",
            None,
        ),
        (
            RUNTIME + 'exec: "no-runc": executable file not found in $PATH',
            "the runtime 'no-runc' cannot be run: executable file not found in $PATH",
            None,
        ),
    ],
)
@pytest.mark.parametrize("ending", ["", ": unknown", "\n\n: unknown"])
def test_a_chain_of_the_runtimes_becomes_one_sentence(chain: str, sentence: str, code: int | None, ending: str) -> None:
    error = error_from(f"ctr: {chain}{ending}\n")
    assert str(error) == f"run 'X': {sentence}"
    assert chain in error.stderr
    assert invocation_code(error) == code


def test_a_runtime_that_is_run_without_ctr_has_the_same_sentences() -> None:
    error = error_from('exec failed: unable to start container process: exec: "no": executable file not found in $PATH')
    assert (str(error), invocation_code(error)) == ("run 'X': 'no' is not on the PATH of the root file system", 127)


def test_silence_is_told_with_the_exit_code() -> None:
    error = error_from_stderr("", argv=["/x/ctr"], returncode=-9, operation="run", id=None)
    assert type(error) is Unknown
    assert str(error) == "run: /x/ctr ended with code -9 and said nothing"


def test_a_complaint_of_megabytes_keeps_its_beginning_and_its_end() -> None:
    error = error_from("ctr: begun " + "x" * 5_000_000 + " ended: already exists\n")
    assert type(error) is AlreadyExists
    assert "ctr: begun" in str(error)
    assert str(error).endswith("ended: already exists")
    assert len(str(error)) < 1000


def test_a_task_that_exists_is_told_from_a_container_that_exists() -> None:
    assert task_exists(str(error_from("ctr: task X: already exists\n")), "X")
    assert not task_exists(str(error_from('ctr: container "X": already exists\n')), "X")
    assert not task_exists(str(error_from("ctr: task Y: already exists\n")), "X")


def test_rubbish_that_nearly_fits_many_patterns_is_read_in_no_time() -> None:
    began = time.monotonic()
    for word in ("exec: ", "cannot access socket ", 'in namespace "', "unable to retrieve OCI runtime error "):
        assert type(error_from("ctr: " + word * 200_000)) in (Unknown, Unavailable)
    assert time.monotonic() - began < 60  # hours, without a bound


def test_a_setpriv_that_cannot_start_ctr_is_a_failed_precondition() -> None:
    error = error_from("setpriv: failed to execute /x/ctr: Exec format error\n")
    assert type(error) is FailedPrecondition
    assert "install" in str(error.hint)


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        pytest.param("cannot delete a non stopped container: {running 0 0001-01-01 00:00:00 +0000 UTC}", True, id="rm"),
        pytest.param("task must be stopped before deletion: running: failed precondition", True, id="tasks-rm"),
        pytest.param("No help topic for 'containers'", False, id="another-ctr"),
        pytest.param('container "X" in namespace "N": not found', False, id="not-found"),
    ],
)
def test_what_was_not_deleted_because_it_runs_is_told_from_other_failures(text: str, runs: bool) -> None:
    assert container_runs(str(error_from(f"ctr: {text}\n"))) is runs


@pytest.mark.parametrize(
    ("text", "kind", "hint"),
    [
        ('failed to resolve reference "r:5000/x:1": r:5000/x:1: not found', NotFound, "the name and the tag"),
        (
            'failed to resolve reference "r/x:1": pulling from host r failed with status code [manifests 1]: '
            "401 Unauthorized",
            PermissionDenied,
            "some users",
        ),
        (
            'failed to resolve reference "r/x:1": pull access denied, repository does not exist or may require '
            "authorization: server message: insufficient_scope: authorization failed",
            PermissionDenied,
            "some users",
        ),
        (
            'failed to resolve reference "r/x:1": pulling from host r failed with status code [manifests 1]: '
            "429 Too Many Requests",
            Unavailable,
            "try later",
        ),
        (
            'failed to resolve reference "r:401/x:1": failed to do request: Head "http://r:401/v2/x/manifests/1": '
            "dial tcp 127.0.0.1:401: connect: connection refused",
            Unavailable,
            "can it be reached",
        ),
        (
            'failed to do request: Head "https://r/v2/x/manifests/1": http: server gave HTTP response to HTTPS client',
            Unavailable,
            "--plain-http",
        ),
    ],
)
def test_what_a_registry_says_is_not_taken_for_containerds_own(
    text: str, kind: type[PluginExecError], hint: str
) -> None:
    error = error_from_stderr(f"ctr: {text}", argv=["ctr"], returncode=1, operation="pull", id="x")
    assert type(error) is kind
    assert error.hint
    assert hint in error.hint
