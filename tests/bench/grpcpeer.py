"""The peer: containerd's own gRPC API, called from Python as moby's executor calls it from Go.

For its tests of the same work it makes FIFOs, reads each in a thread into a writer, and on an exit deletes task and
container, drains, and calls the handler.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any, Protocol

import grpc
from containerd.events.task_pb2 import TaskExit
from containerd.services.containers.v1 import containers_pb2, containers_pb2_grpc
from containerd.services.events.v1 import events_pb2, events_pb2_grpc
from containerd.services.tasks.v1 import tasks_pb2, tasks_pb2_grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from pluginexec import Writer

NAMESPACE = "bench.grpc"
_SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
_CHUNK = 1 << 17


class Told(Protocol):
    """Who is told of exits."""

    def event(self, id: str) -> None:
        """Learn that the event of an exit has come."""

    def told(self, id: str, code: int | None) -> None:
        """Learn of an exit, cleaned up."""


class GrpcPeer:
    """Plugins of one namespace, by gRPC."""

    def __init__(self, address: str, directory: Path, told: Told) -> None:
        self._directory = directory
        self._told = told
        self._metadata = (("containerd-namespace", NAMESPACE),)
        self._relays: dict[str, list[threading.Thread]] = {}
        self.channel = grpc.insecure_channel(f"unix://{address}")
        self._containers = containers_pb2_grpc.ContainersStub(self.channel)
        self._tasks = tasks_pb2_grpc.TasksStub(self.channel)
        filters = [f'namespace=="{NAMESPACE}",topic~="^/tasks/(exit|oom)$"']
        stub = events_pb2_grpc.EventsStub(self.channel)
        self._events = stub.Subscribe(events_pb2.SubscribeRequest(filters=filters))
        self._thread = threading.Thread(target=self._follow, name="bench-grpc-events", daemon=True)
        self._thread.start()
        self._tasks.List(tasks_pb2.ListTasksRequest(), metadata=self._metadata)  # the channel is up

    def create(self, id: str, spec: dict[str, Any], stdout: Writer | None = None, stderr: Writer | None = None) -> int:
        """Create a container and start it; return the pid."""
        container = containers_pb2.Container(
            id=id,
            runtime=containers_pb2.Container.Runtime(name="io.containerd.runc.v2"),
            spec=AnyMessage(type_url=_SPEC_TYPE, value=json.dumps(spec).encode()),
        )
        request = tasks_pb2.CreateTaskRequest(container_id=id)
        # As containerd's own client does: while nobody has opened a FIFO for writing, it seems to be at its end.
        held = []
        if stdout is not None and stderr is not None:
            request.stdout, request.stderr = self._relay(id, "stdout", stdout), self._relay(id, "stderr", stderr)
            held = [os.open(fifo, os.O_WRONLY) for fifo in (request.stdout, request.stderr)]
        self._containers.Create(containers_pb2.CreateContainerRequest(container=container), metadata=self._metadata)
        self._tasks.Create(request, metadata=self._metadata)
        for descriptor in held:
            os.close(descriptor)
        started = self._tasks.Start(tasks_pb2.StartRequest(container_id=id), metadata=self._metadata)
        return int(started.pid)

    def get(self, id: str) -> bool:
        """Ask for the state of a task."""
        answer = self._tasks.Get(tasks_pb2.GetRequest(container_id=id), metadata=self._metadata)
        return bool(answer.process.pid)

    def close(self) -> None:
        """End the subscription."""
        self._events.cancel()
        self._thread.join()
        self.channel.close()

    def _relay(self, id: str, name: str, writer: Writer) -> str:
        fifo = self._directory / id / name
        fifo.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(fifo, 0o600)
        thread = threading.Thread(target=_copy, args=(fifo, writer), name=f"bench-{id}-{name}", daemon=True)
        thread.start()
        self._relays.setdefault(id, []).append(thread)
        return str(fifo)

    def _follow(self) -> None:
        try:
            for envelope in self._events:
                if envelope.topic == "/tasks/exit":
                    exit = TaskExit.FromString(envelope.event.value)
                    if exit.id == exit.container_id:
                        self._end(exit.container_id)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                raise

    def _end(self, id: str) -> None:
        self._told.event(id)
        deleted = self._tasks.Delete(tasks_pb2.DeleteTaskRequest(container_id=id), metadata=self._metadata)
        self._containers.Delete(containers_pb2.DeleteContainerRequest(id=id), metadata=self._metadata)
        relays = self._relays.pop(id, [])
        for relay in relays:
            relay.join()
        if relays:
            shutil.rmtree(self._directory / id)
        self._told.told(id, deleted.exit_status)


def _copy(fifo: Path, writer: Writer) -> None:
    with fifo.open("rb", buffering=0) as source:
        while data := source.read(_CHUNK):
            writer.write(data)
    writer.close()
