"""XMPP and IRC servers: Prosody, ejabberd, InspIRCd."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from tests import certificates
from tests.packages import find_program
from tests.servers.daemon import (
    HOST,
    Server,
    free_ports,
    listens,
    make_directory,
    own_certificate,
    require_root,
    serve,
    start,
    wait_until_ready,
)


@dataclass(frozen=True)
class Prosody:
    """An XMPP server for the domain localhost, for clients and for servers."""

    host: str
    client: int
    server: int
    domain: str
    log: Path


@functools.cache
def prosody() -> Prosody:
    """Start Prosody."""
    program = find_program("prosody", "prosody")
    require_root("prosody")
    directory = make_directory("prosody")
    settings = directory / "prosody.cfg.lua"
    server = certificates.shared().server
    with free_ports(2) as ports:
        settings.write_text(f"""\
daemonize = false
run_as_root = true
certificates = "{directory}"
data_path = "{directory}/data"
log = {{ info = "{directory}/log" }}
interfaces = {{ "{HOST}" }}
c2s_ports = {{ {ports[0]} }}
s2s_ports = {{ {ports[1]} }}
modules_enabled = {{ "tls", "saslauth", "dialback" }}
modules_disabled = {{ "http", "offline", "posix" }}
VirtualHost "localhost"
  ssl = {{ certificate = "{server}", key = "{server}" }}
""")
        process = start(directory, program, "--config", str(settings), "-F")
        wait_until_ready(
            process,
            directory,
            lambda: listens(process.pid, *ports, everywhere=False),
        )
    return Prosody(
        host=HOST,
        client=ports[0],
        server=ports[1],
        domain="localhost",
        log=directory / "log",
    )


@functools.cache
def ejabberd() -> Server:
    """Start ejabberd for the domain localhost.  It ends TLS without close_notify."""
    erl = find_program("erl", "ejabberd")
    directory = make_directory("ejabberd")
    settings = directory / "ejabberd.yml"
    certificate = own_certificate(directory, 0)
    environment = {
        "EJABBERD_CONFIG_PATH": settings,
        "EJABBERD_LOG_PATH": directory / "log",
        "ERL_CRASH_DUMP": "/dev/null",
        "ERL_LIBS": ":".join(map(str, Path("/usr/lib").glob("*-linux-gnu"))),
        "HOME": directory,
    }
    given = [f"{name}={value}" for name, value in environment.items()]

    def command(port: int) -> tuple[str, ...]:
        settings.write_text(f"""\
hosts: [localhost]
loglevel: warning
certfiles: ["{certificate}"]
listen:
  - port: {port}
    ip: "{HOST}"
    module: ejabberd_c2s
    starttls: true
modules: {{}}
""")
        # With a node name Erlang would start epmd, which outlives the tests.
        options = ("-noinput", "-mnesia", "dir", f'"{directory}/db"', "-s", "ejabberd")
        return "/usr/bin/env", *given, erl, *options

    return serve(directory, command)


@functools.cache
def inspircd() -> Server:
    """Start InspIRCd."""
    program = find_program("inspircd", "inspircd")
    # InspIRCd can crash when it ends; --core=0 prevents a core file.
    limit = find_program("prlimit", "util-linux")
    require_root("inspircd")
    directory = make_directory("inspircd")
    settings = directory / "inspircd.conf"
    places = ("configdir", "datadir", "logdir", "runtimedir")
    server = certificates.shared().server

    def command(port: int) -> tuple[str, ...]:
        settings.write_text(f"""\
<config format="xml">
<server name="irc.example.test" description="test" network="Test">
<admin name="admin" nick="admin" email="admin@example.test">
<path {" ".join(f'{place}="{directory}"' for place in places)}>
<module name="ssl_gnutls">
<module name="starttls">
<sslprofile name="tests" provider="gnutls" certfile="{server}" keyfile="{server}">
<starttls provider="tests">
<bind address="{HOST}" port="{port}" type="clients">
<connect name="all" allow="*" resolvehostnames="no">
<dns server="{HOST}" timeout="1">
""")
        inspircd = (program, "--runasroot", "--nofork", "--nopid", "--nolog")
        return limit, "--core=0", *inspircd, f"--config={settings}"

    return serve(directory, command)
