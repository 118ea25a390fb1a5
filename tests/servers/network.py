"""A network namespace with a name server and an ident server."""

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
    """A network namespace with a loopback and a name server."""

    pid: int
    log: Path

    def inside(self, *command: str) -> list[str]:
        """
        Return the command that runs a command in the namespace, in the current
        directory.
        """
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
    """
    Start dnsmasq in a network namespace; `Network.log` shows the queries.

    All names are under example.test:

    - five is 127.0.0.5, six is ::1, and many is 127.0.0.7, 127.0.0.8 and ::1; each of
      these addresses has its name as PTR record, and 127.0.0.1 has localhost;
    - nameless is 127.0.0.9, which has no PTR record;
    - 127.0.0.10 has the PTR record liar, and liar is 127.0.0.11;
    - silent is 192.0.2.1, which neither answers nor refuses; racing is 192.0.2.1 and
      127.0.0.5;
    - queries for stalled and for the name of 127.0.0.66 are never answered.

    Any address outside 127.0.0.0/8 and 192.0.2.0/24 is unreachable.
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
    # /proc/PID/net cannot tell: until unshare(2) the process is in the host's
    # namespace.
    wait_until_ready(
        process, directory, lambda: "started" in text_of(directory / "log")
    )
    return Network(pid=process.pid, log=directory / "log")


# dnsmasq must not fork: other processes enter its namespaces by its process id.
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
    """
    An ident server in a network namespace, which reports `user` for every connection.
    """

    network: Network
    port: int
    user: str
    log: Path


@functools.cache
def identd() -> Ident:
    """Start oidentd on every address of the namespace, on port 113."""
    oidentd = find_program("oidentd", "oidentd")
    inside = network()
    directory = make_directory("identd")
    settings = directory / "oidentd.conf"
    port, user = 113, "tester"
    # The name is fixed, so it does not depend on the user who runs the tests.  oidentd
    # still checks that the connection exists.
    settings.write_text(f'default {{ default {{ force reply "{user}" }} }}\n')
    command = inside.inside(oidentd, "-i", "-S", "-C", str(settings))
    process = start(directory, *command)
    wait_until_ready(process, directory, lambda: listens(inside.pid, port))
    return Ident(network=inside, port=port, user=user, log=directory / "output")
