"""What ``ctr`` passes on of a spec, and the warning for what it leaves out. Real: ``ctr``, containerd."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Executor
from pluginexec.containerd.client import Client
from pluginexec.oci.recent_fields import recent_fields
from tests.support.harness import PATIENCE

ID_MAP = [{"containerID": 0, "hostID": 0, "size": 1}]
RATE = [{"major": 1, "minor": 1, "rate": 1}]
HOOK = [{"path": "/a", "args": ["a"], "env": ["b=c"], "timeout": 3}]
PROCESS: dict[str, Any] = {
    "terminal": True,
    "consoleSize": {"height": 1, "width": 1},
    "user": {"uid": 1, "gid": 1, "umask": 18, "additionalGids": [1]},
    "args": ["x"],
    "env": ["A=1"],
    "cwd": "/",
    "capabilities": {key: ["CAP_KILL"] for key in ("bounding", "effective", "inheritable", "permitted", "ambient")},
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1, "soft": 1}],
    "noNewPrivileges": True,
    "apparmorProfile": "x",
    "oomScoreAdj": 5,
    "selinuxLabel": "y",
    "scheduler": {"policy": "SCHED_BATCH", "nice": 5},
    "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 3},
    "execCPUAffinity": {"initial": "0", "final": "0"},
}
RESOURCES: dict[str, Any] = {
    "devices": [{"allow": True, "type": "c", "major": 1, "minor": 1, "access": "r"}],
    "memory": {
        **dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP", "swappiness"), 1),
        **dict.fromkeys(("disableOOMKiller", "useHierarchy", "checkBeforeUpdate"), True),
    },
    "cpu": {
        **dict.fromkeys(("shares", "quota", "burst", "period", "realtimeRuntime", "realtimePeriod", "idle"), 1),
        "cpus": "0",
        "mems": "0",
    },
    "pids": {"limit": 1},
    "blockIO": {
        "weight": 1,
        "leafWeight": 1,
        "weightDevice": [{"major": 1, "minor": 1, "weight": 1, "leafWeight": 1}],
        **{f"throttle{way}{unit}Device": RATE for way in ("Read", "Write") for unit in ("Bps", "IOPS")},
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    "network": {"classID": 1, "priorities": [{"name": "e", "priority": 1}]},
    "rdma": {"x": {"hcaHandles": 1, "hcaObjects": 1}},
    "unified": {"a": "b"},
}
LINUX: dict[str, Any] = {
    "uidMappings": ID_MAP,
    "gidMappings": ID_MAP,
    "sysctl": {"a": "b"},
    "resources": RESOURCES,
    "cgroupsPath": "/x",
    "namespaces": [{"type": "mount"}, {"type": "time"}, {"type": "cgroup", "path": "/p"}],
    "devices": [{"type": "c", "path": "/dev/x", "major": 1, "minor": 1, "fileMode": 438, "uid": 1, "gid": 1}],
    "seccomp": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "listenerPath": "/x",
        "listenerMetadata": "y",
        "syscalls": [
            {
                "names": ["read"],
                "action": "SCMP_ACT_ALLOW",
                "errnoRet": 1,
                "args": [{"index": 1, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ"}],
            }
        ],
    },
    "rootfsPropagation": "slave",
    "maskedPaths": ["/m"],
    "readonlyPaths": ["/r"],
    "mountLabel": "z",
    "intelRdt": {
        "closID": "a",
        "l3CacheSchema": "L",
        "memBwSchema": "M",
        "enableCMT": True,
        "enableMBM": True,
        "schemata": ["x"],
        "enableMonitoring": True,
    },
    "personality": {"domain": "LINUX32", "flags": ["a"]},
    "netDevices": {"eth0": {"name": "x"}},
    "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
    "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 1}},
}
WHOLE: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": PROCESS,
    "root": {"path": "/r", "readonly": True},
    "hostname": "h",
    "domainname": "d",
    "mounts": [
        {
            "destination": "/a",
            "type": "bind",
            "source": "/b",
            "options": ["bind"],
            "uidMappings": ID_MAP,
            "gidMappings": ID_MAP,
        }
    ],
    "hooks": {
        f"{name}": HOOK
        for name in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    },
    "annotations": {"a": "b"},
    "linux": LINUX,
}


def dropped(asked: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Yield the fields of one value that another lacks."""
    if isinstance(asked, dict):
        for key, value in asked.items():
            where = f"{path}.{key}".lstrip(".")
            if not isinstance(kept, dict) or key not in kept:
                yield where
            else:
                yield from dropped(value, kept[key], where)
    elif isinstance(asked, list):
        for one, other in zip(asked, kept, strict=True):
            yield from dropped(one, other, f"{path}[]")


def test_ctr_drops_no_field_that_is_not_listed(client: Client, clean_namespace: None, id: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(WHOLE))
    config = str(tmp_path / "config.json")
    client.ctr.run("containers", "create", "--config", config, "--", id, operation="create container")
    left_out = set(dropped(WHOLE, client.container_spec(id)))
    assert left_out <= set(recent_fields(WHOLE))
    assert len(recent_fields(WHOLE)) == 8


def test_one_warning_names_what_is_left_out(
    executor: Executor, client: Client, id: str, new_id: Any, shell: Any, caplog: pytest.LogCaptureFixture
) -> None:
    spec = shell(id, "exec sleep 1000")
    spec["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 3}
    spec["process"]["execCPUAffinity"] = {"initial": "0", "final": "0"}
    with caplog.at_level(logging.WARNING, "pluginexec"):
        executor.create(id, spec)
    left_out = [field for field in recent_fields(spec) if field not in recent_fields(client.container_spec(id))]
    warnings = [record.getMessage() for record in caplog.records if "too old" in record.getMessage()]
    assert len(warnings) == bool(left_out)
    assert all(field in warning for warning in warnings for field in left_out)
    executor.stop(id, timeout=0)
    caplog.clear()
    other = new_id()
    executor.create(other, shell(other, "true"))
    executor.wait(other, PATIENCE)
    assert not [record for record in caplog.records if "too old" in record.getMessage()]
