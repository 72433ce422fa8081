"""What ``ctr`` of containerd 1.6.20, 1.7.24 and 2.1.9 really printed, for the mutator to break."""

# ruff: noqa: E501 -- the lines are quoted as they came.

from __future__ import annotations

EVENT_LINES = [
    line.encode() + b"\n"
    for line in (
        # 1.6, 1.7 and 2.1 alike
        '2026-11-23 22:23:14.192277236 +0000 UTC plugins.moby /namespaces/update {"name":"plugins.moby","labels":{"pluginexec.ready":"0123456789abcdef"}}',
        '2026-11-23 22:23:14.232939512 +0000 UTC plugins.moby /containers/create {"id":"fz-a","runtime":{"name":"io.containerd.runc.v2","options":{"type_url":"containerd.runc.v1.Options","value":"OhMvdG1wL2Z6LWVmNzF6YncyL3Jy"}}}',
        '2026-11-23 22:23:14.288328672 +0000 UTC plugins.moby /tasks/create {"container_id":"fz-a","bundle":"/c/state/io.containerd.runtime.v2.task/plugins.moby/fz-a","io":{},"pid":25044}',
        '2026-11-23 22:23:14.294903458 +0000 UTC plugins.moby /tasks/start {"container_id":"fz-a","pid":25044}',
        '2026-11-23 22:23:15.379798882 +0000 UTC plugins.moby /tasks/exec-added {"container_id":"fz-a","exec_id":"e1"}',
        '2026-11-23 22:23:15.402496314 +0000 UTC plugins.moby /tasks/exec-started {"container_id":"fz-a","exec_id":"e1","pid":25249}',
        '2026-11-23 22:23:15.459422998 +0000 UTC plugins.moby /tasks/paused {"container_id":"fz-a"}',
        '2026-11-23 22:23:15.48273873 +0000 UTC plugins.moby /tasks/resumed {"container_id":"fz-a"}',
        '2026-11-23 22:23:15.482738 +0000 UTC plugins.moby /tasks/oom {"container_id":"fz-a"}',
        '2026-11-23 22:23:16.118175419 +0000 UTC plugins.moby /containers/delete {"id":"fz-a"}',
        '2026-11-23 22:23:16.183133171 +0000 UTC help /namespaces/update {"name":"help","labels":{"a":"b"}}',
        # 1.6
        '2026-11-23 22:23:14.566476382 +0000 UTC plugins.moby /tasks/exit {"container_id":"fz-b.1","id":"fz-b.1","pid":25095,"exit_status":42,"exited_at":"2026-11-23T22:23:14.566424445Z"}',
        '2026-11-23 22:23:15.403232799 +0000 UTC plugins.moby /tasks/exit {"container_id":"fz-a","id":"e1","pid":25249,"exited_at":"2026-11-23T22:23:15.402463396Z"}',
        '2026-11-23 22:23:15.505149166 +0000 UTC plugins.moby /tasks/delete {"container_id":"fz-b.1","pid":25095,"exit_status":42,"exited_at":"2026-11-23T22:23:14.566424445Z"}',
        "ctr: rpc error: code = Unavailable desc = transport is closing",
        # 1.7 and 2.1
        '2026-11-23 22:23:17.919128503 +0000 UTC plugins.moby /tasks/exit {"container_id":"fz-b.1","id":"fz-b.1","pid":25746,"exit_status":42,"exited_at":{"seconds":1795472597,"nanos":919014133}}',
        '2026-11-23 22:23:22.147496387 +0000 UTC plugins.moby /tasks/exit {"container_id":"fz-a","id":"e1","pid":26519,"exited_at":{"seconds":1795472602,"nanos":145802206}}',
        '2026-11-23 22:23:22.32876733 +0000 UTC plugins.moby /tasks/exit {"container_id":"fz-a","id":"fz-a","pid":26345,"exit_status":137,"exited_at":{"seconds":1795472602,"nanos":328746429}}',
        '2026-11-23 22:23:22.853255301 +0000 UTC plugins.moby /tasks/delete {"container_id":"fz-a","pid":26345,"exit_status":137,"exited_at":{"seconds":1795472602,"nanos":328746429}}',
        "ctr: rpc error: code = Unavailable desc = error reading from server: EOF",
    )
]

_LOG = 'time="2026-11-23T22:23:15Z" level='
CTR_OUTPUTS = [
    text.encode()
    for text in (
        "TASK    PID    STATUS    \n",
        "TASK      PID      STATUS    \nfz-a      25044    RUNNING\nfz-b.1    25095    STOPPED\n",
        "TASK    PID    STATUS    \na       1      CREATED\nb       0      UNKNOWN\nc       7      PAUSED\n",
        "fz-a\nfz-b.1\n",
        "plugins.moby\n",
        "Client:\n  Version:  1.6.20~ds1\n  Revision: 1.6.20~ds1-1+deb12u3\n  Go version: go1.19.8\n\nServer:\n  Version:  1.6.20~ds1\n  Revision: 1.6.20~ds1-1+deb12u3\n  UUID: 933c33ca-7983-4c1f-8b1b-a97d04105f23\n",
        "Client:\n  Version:  1.7.24~ds1\n  Revision: 1.7.24~ds1-6+deb13u1\n  Go version: go1.24.4\n\nServer:\n  Version:  1.7.24~ds1\n  Revision: 1.7.24~ds1-6+deb13u1\n  UUID: 2d6a8435-4378-4753-9e3b-4238e7e5cd09\n",
        "Client:\n  Version:  2.1.9+unknown\n  Revision: \n  Go version: go1.27.1\n\nServer:\n  Version:  2.1.9+unknown\n  Revision: \n  UUID: 0c134b6e-483c-4657-b914-1f3139080eaa\n",
        f'{_LOG}warning msg="task fz-b.1 exit with non-zero exit code 42"\n',
        f'{_LOG}warning msg="DEPRECATION: The `bin_dir` property was not found"\n{_LOG}warning msg="task fz-a exit with non-zero exit code 137"\n',
        f'{_LOG}error msg="unable to delete fz-a" error="task must be stopped before deletion: running: failed precondition"\nctr: task must be stopped before deletion: running: failed precondition\n',
        f'{_LOG}error msg="failed to load task from fz-a" error="no running task found: task fz-a not found: not found"\nctr: no running task found: task fz-a not found: not found\n',
        f'{_LOG}error msg="failed to delete container \\"fz-b.1\\"" error="container \\"fz-b.1\\" in namespace \\"plugins.moby\\": not found"\nctr: container "fz-b.1" in namespace "plugins.moby": not found\n',
        "No help topic for 'nosuch'\n",
        "Incorrect Usage: flag provided but not defined: -nosuch\n\nNAME:\n   ctr tasks list - list tasks\n",
        "ctr: flag provided but not defined: -nosuch\n",
        'ctr: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "/no": stat /no: no such file or directory: unknown\n',
        "ctr: failed to create shim task: failed to create init process I/O: 1 error occurred:\n\t* failed to start binary process: fork/exec /no/sh: no such file or directory\n\n: unknown\n",
        "ctr: failed to create shim task: OCI runtime create failed: unable to retrieve OCI runtime error (open /s/log.json: no such file or directory): fork/exec /no/runc: no such file or directory: unknown\n",
        'ctr: failed to dial "/s": connection error: desc = "transport: error while dialing: dial unix /s: connect: connection refused"\n',
        "ctr: cannot access socket /s: stat /s: permission denied\n",
        "ctr: unknown error after kill: runc did not terminate successfully: exit status 1: invalid argument\n: unknown\n",
        "ctr: context deadline exceeded: unknown\n",
        'time="t" level=error msg="container does not exist"\n',
        "panic: runtime error\n\ngoroutine 1 [running]:\n",
        "",
    )
]
