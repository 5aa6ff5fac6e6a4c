"""Connections between process 0 and each other process of a run, besides those that JAX makes."""

import contextlib
import json
import secrets
import socket
import time

# JAX has no public way to ask for the address of process 0, or to tell the others a port there.
from jax._src import distributed

from glober_jax.errors import UserError

# They have found each other already, so all of them have been started.
_SECONDS = 60
_KEY = "glober_jax/links"
# A machine that is gone closes no connection: it is asked after half a minute, six times.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}


def is_one_of_several() -> bool:
    """Whether `jax.distributed` has joined this process to others."""
    return distributed.global_state.client is not None


def process_index() -> int:
    """The index among the others, without making JAX look for devices."""
    return distributed.global_state.process_id


def open_links() -> dict[int, socket.socket]:
    """By process: to all others in process 0, to process 0 in the others. All have to call it.

    Raises:
      UserError: they do not reach each other.
    """
    try:
        links = _accept_all() if process_index() == 0 else {0: _connect()}
    except OSError as error:
        raise UserError(
            f"process {process_index()} and process 0, at {_host()}, do not reach each other "
            f"({error}): let the machines of a run connect to each other's ports"
        ) from error
    for link in links.values():
        link.settimeout(None)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            # Not every system lets one choose.
            if hasattr(socket, name):
                link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return links


def _accept_all() -> dict[int, socket.socket]:
    state = distributed.global_state
    deadline = time.monotonic() + _SECONDS
    # Strangers that connect do not know it.
    secret = secrets.token_hex()
    dual = socket.has_dualstack_ipv6()
    links: dict[int, socket.socket] = {}
    with socket.create_server(
        ("", 0),
        family=socket.AF_INET6 if dual else socket.AF_INET,
        dualstack_ipv6=dual,
        backlog=state.num_processes,
    ) as server:
        state.client.key_value_set(_KEY, json.dumps([server.getsockname()[1], secret]))
        while len(links) < state.num_processes - 1:
            server.settimeout(max(deadline - time.monotonic(), 0.001))
            link, _ = server.accept()
            link.settimeout(_SECONDS)
            with contextlib.suppress(ValueError, OSError):
                known, process = json.loads(_line(link))
                if known == secret:
                    links[process] = link
    return links


def _connect() -> socket.socket:
    told = distributed.global_state.client.blocking_key_value_get(_KEY, _SECONDS * 1000)
    port, secret = json.loads(told)
    link = socket.create_connection((_host(), port), timeout=_SECONDS)
    link.sendall(json.dumps([secret, process_index()]).encode() + b"\n")
    return link


def _host() -> str:
    """The address of process 0 that JAX uses."""
    host, _, _ = distributed.global_state.coordinator_address.rpartition(":")
    return host.strip("[]")


def _line(link: socket.socket) -> bytes:
    """Its next line, and not a byte more."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := link.recv(1)):
            raise OSError("closed")
        line += byte
    return line
