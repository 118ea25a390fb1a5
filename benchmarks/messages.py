"""
Small messages over TLS: a request, its reply, the next request.
"""

from __future__ import annotations

import os
import time
from functools import partial

from benchmarks import peers, traffic
from benchmarks.measure import (
    Goal,
    Log,
    Row,
    Sample,
    Table,
    alternate,
    best,
    launch,
    ratio,
    reap,
)
from benchmarks.peers import OURS, Client
from benchmarks.traffic import NotExact, Service
from tests import certificates

#: Bytes of a request, and of its reply.
SIZE = 64


def interactive(client: Client) -> tuple[str, ...]:
    """Return the command of a client that carries both directions."""
    return tuple(
        "STDIO" if word == "STDOUT" else word
        for word in client.download
        if word not in ("-u", "--recv-only")
    )


def exchange(client: Client, count: int) -> float:
    """
    Let a program carry ``count`` requests and replies.

    :returns: round trips a second.
    :raises NotExact: if a reply is not what was sent.
    """
    service = Service((count + 1) * SIZE, certificates.shared().server)
    listener, port = traffic.listen()
    with listener:
        server = traffic.start(traffic.echo, listener, service)
    stdin, asking = os.pipe()
    answering, stdout = os.pipe()
    process = launch(peers.at(interactive(client), port), stdin, stdout)
    os.close(stdin)
    os.close(stdout)
    try:
        _ask(asking, answering, 1)
        began = time.perf_counter()
        _ask(asking, answering, count)
        taken = time.perf_counter() - began
    finally:
        os.close(asking)
        reap(process)
        os.close(answering)
        server.end()
    return count / taken


def _ask(asking: int, answering: int, count: int) -> None:
    """Send ``count`` requests, each after the reply to the one before."""
    request = traffic.block()[: SIZE - 1] + b"\n"
    for _ in range(count):
        os.write(asking, request)
        reply = os.read(answering, SIZE)
        while len(reply) < SIZE:
            more = os.read(answering, SIZE - len(reply))
            if not more:
                raise NotExact("the client has ended")
            reply += more
        if reply != request:
            raise NotExact("another reply than was sent")


def messages(count: int, runs: int, log: Log) -> list[Table]:
    """Measure the round trips a second of each client."""
    log.step("small messages")
    clients = {client.name: client for client in peers.tls()}
    fit = {}
    for name, client in clients.items():
        try:
            exchange(client, 10)
        except (NotExact, OSError) as error:
            if name == OURS:
                raise
            log.complain(f"{name}, messages: {error}")
        else:
            fit[name] = partial(exchange, client, count)
    found = alternate(fit, runs)
    samples = {
        name: Sample(tuple(found[name])) if name in found else None for name in clients
    }
    one = Row(f"{SIZE} bytes, over TLS", samples)
    socats = [one.samples.get("socat"), one.samples.get("socat -b 262144")]
    goal = Goal("x socat", 1, ratio(one.ours, best(socats, more=True)))
    row = Row(one.what, samples, [goal])
    return [Table("Requests and replies", "round trips/s", [row], digits=0)]
