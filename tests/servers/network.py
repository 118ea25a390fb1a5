"""A network with a name server of its own, and an ident server in it."""

from __future__ import annotations

import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.packages import find_program
from tests.servers.daemon import (
    listens,
    make_directory,
    require_root,
    start,
    text_of,
    wait_until_ready,
)


@dataclass(frozen=True)
class Network:
    """A network of our own, with a loopback and a name server and nothing else."""

    pid: int
    log: Path

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs a command in here, in the same directory."""
        return [
            find_program("nsenter", "util-linux"),
            f"--target={self.pid}",
            "--net",
            "--mount",
            f"--wdns={Path.cwd()}",
            "--",
            *command,
        ]


@functools.cache
def network() -> Network:
    """Start dnsmasq in a network of its own; `Network.log` shows what it is asked.

    All under example.test:

    - five is 127.0.0.5, six is ::1, and many is 127.0.0.7, 127.0.0.8 and ::1;
      each of these addresses leads back to its name, and 127.0.0.1 to localhost;
    - nameless is 127.0.0.9, which has no name;
    - 127.0.0.10 says that it is liar, and liar is 127.0.0.11;
    - silent is 192.0.2.1, where nothing ever answers, not even to refuse;
      racing is 192.0.2.1 and 127.0.0.5;
    - stalled, and the name of 127.0.0.66, are questions that are never answered.

    Any address that is not of 127.0.0.0/8 or 192.0.2.0/24 is unreachable.
    """
    dnsmasq = find_program("dnsmasq", "dnsmasq-base")
    unshare = find_program("unshare", "util-linux")
    ip = find_program("ip", "iproute2")
    require_root("dnsmasq-base")
    isolate = (unshare, "--net", "--mount")
    if subprocess.run([*isolate, "true"], capture_output=True).returncode:
        raise SkipTest("this container may not make a network namespace")
    directory = make_directory("network")
    for name, text in _NETWORK_FILES.items():
        (directory / name).write_text(text)
    settings = directory / "dnsmasq.conf"
    settings.write_text(f"{_ZONE}log-facility={directory}/log\n")
    process = start(
        directory, *isolate, "sh", "-c", _ENTER, ip, str(directory), dnsmasq
    )
    # The table of ports cannot tell: until it leaves, the process sees the host's.
    wait_until_ready(
        process, directory, lambda: "started" in text_of(directory / "log")
    )
    return Network(pid=process.pid, log=directory / "log")


# No --fork: the process keeps its id, by which others find the way in.
_ENTER = """\
set -e
"$0" link set lo up
"$0" route add 192.0.2.0/24 dev lo
for file in hosts nsswitch.conf resolv.conf; do
    mount --bind "$1/$file" "/etc/$file"
done
exec "$2" --conf-file="$1/dnsmasq.conf"
"""

_NETWORK_FILES = {
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "resolv.conf": "nameserver 127.0.0.1\n",
}

_ZONE = """\
keep-in-foreground
user=root
pid-file=
listen-address=127.0.0.1
bind-interfaces
no-hosts
no-resolv
bogus-priv
cache-size=0
log-queries
local=/example.test/
host-record=five.example.test,127.0.0.5
host-record=six.example.test,::1
host-record=many.example.test,127.0.0.7
host-record=many.example.test,127.0.0.8
host-record=many.example.test,::1
ptr-record=1.0.0.127.in-addr.arpa,localhost
ptr-record=10.0.0.127.in-addr.arpa,liar.example.test
address=/liar.example.test/127.0.0.11
address=/nameless.example.test/127.0.0.9
address=/silent.example.test/192.0.2.1
address=/racing.example.test/192.0.2.1
address=/racing.example.test/127.0.0.5
server=/stalled.example.test/192.0.2.53
rev-server=127.0.0.66/32,192.0.2.53
"""


@dataclass(frozen=True)
class Ident:
    """An ident server inside a network: all connections there belong to `user`."""

    network: Network
    port: int
    user: str
    log: Path


@functools.cache
def identd() -> Ident:
    """Start oidentd on every address of the network, on the port that clients ask."""
    oidentd = find_program("oidentd", "oidentd")
    inside = network()
    directory = make_directory("identd")
    settings = directory / "oidentd.conf"
    port, user = 113, "tester"
    # Whoever runs the tests: the answer is for a connection that there is, at least.
    settings.write_text(f'default {{ default {{ force reply "{user}" }} }}\n')
    command = inside.inside(oidentd, "-i", "-S", "-C", str(settings))
    process = start(directory, *command)
    wait_until_ready(process, directory, lambda: listens(inside.pid, port))
    return Ident(network=inside, port=port, user=user, log=directory / "output")
