"""An authorization plugin: it denies the requests whose path begins with what its user has set."""

from typing import Any

from server import environment, serve  # type: ignore[import-not-found]


def _request(body: dict[str, Any]) -> object:
    denied = environment("DENIED")
    if denied and body["RequestUri"].startswith(denied):
        return {"Allow": False, "Msg": f"{denied} is not for {body.get('User') or 'anybody'}"}
    return {"Allow": True}


def main() -> None:
    """Serve."""
    methods = {"AuthZPlugin.AuthZReq": _request, "AuthZPlugin.AuthZRes": lambda body: {"Allow": True}}
    serve("authz.sock", "authz", methods)
