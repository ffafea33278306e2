"""What ``pgnet-trio serve`` is told of a cluster and of several processes, as a `Cluster`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgnet_trio.cli.process import say
from pgnet_trio.errors import PGNetError
from pgnet_trio.messages import DEFAULT_PORT
from pgnet_trio.server import Cluster
from pgnet_trio.server.cluster.opening import is_file
from pgnet_trio.storage import key_file_of

if TYPE_CHECKING:
    from pgnet_trio.cli.worker import WorkerProcess
    from pgnet_trio.cli.worker_plan import WorkerPlan

__all__ = ["CLUSTER_VARIABLE", "use_cluster"]

CLUSTER_VARIABLE = "PGNET_CLUSTER"

REFUSED = (
    "Clients of PGNet are refused: they cannot be sent from one server to another, so that "
    "--minimum-protocol is 2 here."
)


def use_cluster(
    settings: dict[str, Any], plan: WorkerPlan | None, worker: WorkerProcess | None
) -> None:
    """Put a `Cluster` in the place of what was said of it, and of a save file that is shared.

    Args:
        settings: The options that were given; changed.
        plan: What to start; None for a server in one process.
        worker: This process as one of several; None where it is none, or starts them.

    Raises:
        PGNetError: Something is missing, or does not go together; the message says what to do.
    """
    about = {
        argument: settings.pop(option)
        for option, argument in (
            ("node_address", "node_address"),
            ("node_name", "name"),
            ("drain_wait", "drain_wait"),
        )
        if option in settings
    }
    settings.pop("worker_ports", None)
    if "cluster" in settings:
        engine = _engine(settings, about)
    elif plan is not None:
        if "name" in about:
            raise PGNetError("--node-name is for --cluster")
        engine = settings.pop("save_file")
        settings.setdefault("key_file", key_file_of(Path(engine)))
    elif about:
        raise PGNetError("--node-address, --node-name and --drain-wait are for --cluster")
    else:
        return
    if "minimum_protocol" not in settings and worker is None:
        say(REFUSED)
    settings["minimum_protocol"] = 2
    if plan is not None:
        number = 1 if worker is None else worker.orders.number
        called = about.get("name") or about.get("node_address", "")
        about["name"] = plan.name(number, "" if plan.is_alone else called)
        about["node_address"] = (
            plan.address(1, settings.get("port") or DEFAULT_PORT)
            if worker is None
            else worker.orders.address
        )
    try:
        settings["cluster"] = Cluster(engine, **about)
    except ValueError as error:
        raise PGNetError(str(error)) from None


def _engine(settings: dict[str, Any], about: dict[str, Any]) -> str:
    url: str = settings["cluster"] or os.environ.get(CLUSTER_VARIABLE, "")
    if not url:
        raise PGNetError(f"--cluster: there is nothing in the variable {CLUSTER_VARIABLE}")
    number = settings.get("port", DEFAULT_PORT)
    if "node_address" not in about and (settings.get("listen_globally") or not number):
        raise PGNetError(
            "--cluster needs to know where clients find this server, such as --node-address "
            f"play.example.org:{number or DEFAULT_PORT}"
        )
    about.setdefault("node_address", f"localhost:{number}")
    if "save_file" in settings:
        raise PGNetError("--cluster takes the place of --save-file")
    if settings.get("minimum_protocol") == 1:
        raise PGNetError(
            "--cluster does not go together with --minimum-protocol 1: clients of PGNet cannot be "
            "sent from one server to another"
        )
    path = is_file(url)
    if path is not None:
        settings.setdefault("key_file", key_file_of(path))
    elif settings.get("listen_globally") and "key_file" not in settings:
        raise PGNetError(
            "--cluster needs the key by which clients know all of its servers: give each of them "
            "a copy of the same --key-file"
        )
    return url
