"""A process that has containerd publish the events of somebody else's execs: ``ADDRESS NAMESPACE RATE``.

It says "ready" when the first are out, and ends, with their number, when its stdin does.
"""

from __future__ import annotations

import select
import sys
import time
from typing import Any

import grpc
from containerd.events import task_pb2
from containerd.services.events.v1 import events_pb2, events_pb2_grpc
from google.protobuf.any_pb2 import Any as AnyMessage

STRANGER = "somebody-else"


def main(address: str, namespace: str, rate: int) -> int:
    """Publish until told to stop; return how many exits were among the events."""
    channel = grpc.insecure_channel(f"unix://{address}")
    stub = events_pb2_grpc.EventsStub(channel)
    requests = [_request(topic, event) for topic, event in _events()]
    begun = time.monotonic()
    count = 0
    while not select.select([sys.stdin], [], [], max(0.0, begun + count / rate - time.monotonic()))[0]:
        stub.Publish(requests[count % len(requests)], metadata=(("containerd-namespace", namespace),))
        count += 1
        if count == len(requests):
            print("ready", flush=True)
    print(count, round(count / (time.monotonic() - begun)), flush=True)
    return 0


def _events() -> tuple[tuple[str, Any], ...]:
    ids = {"container_id": STRANGER, "exec_id": "exec"}
    return (
        ("/tasks/exec-added", task_pb2.TaskExecAdded(**ids)),
        ("/tasks/exec-started", task_pb2.TaskExecStarted(**ids, pid=4242)),
        ("/tasks/exit", task_pb2.TaskExit(container_id=STRANGER, id="exec", pid=4242)),
    )


def _request(topic: str, event: Any) -> Any:
    message = AnyMessage(type_url=event.DESCRIPTOR.full_name, value=event.SerializeToString())
    return events_pb2.PublishRequest(topic=topic, event=message)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
