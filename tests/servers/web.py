"""
HTTP servers that run the same application, and proxies in front of one.

The application (`application.py`) answers

- ``GET /bytes?size=N&wait=S`` with N bytes, after S seconds;

- ``POST /?wait=S`` with "received N bytes", S seconds after the end of the body.
"""

from __future__ import annotations

import functools
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests import certificates
from tests.packages import Missing, find_program
from tests.servers.daemon import (
    HOST,
    make_directory,
    own_certificate,
    require_root,
    serve_on,
)


@dataclass(frozen=True)
class Web:
    """An HTTP server: `http` in clear, `https` over TLS."""

    host: str
    http: int
    https: int


@functools.cache
def uvicorn() -> Web:
    """Start uvicorn with the application, on asyncio's event loop."""
    directory = make_directory("uvicorn")
    script = str(Path(__file__).parent.joinpath("scripts", "application.py"))
    server = str(certificates.shared().server)
    http, https = serve_on(
        2,
        directory,
        lambda *ports: (sys.executable, script, server, *map(str, ports)),
    )
    return Web(HOST, http, https)


@functools.cache
def node() -> Web:
    """Start the same application with node's modules http and https."""
    program = find_program("node", "nodejs")
    directory = make_directory("node")
    script = str(Path(__file__).parent.joinpath("scripts", "application.js"))
    server = str(certificates.shared().server)
    http, https = serve_on(
        2, directory, lambda *ports: (program, script, server, *map(str, ports))
    )
    return Web(HOST, http, https)


@dataclass(frozen=True)
class Nginx:
    """
    nginx as a proxy: of HTTP in front of uvicorn, of SMTP in front of aiosmtpd.

    The port `smtp` offers STARTTLS.
    """

    host: str
    http: int
    https: int
    smtp: int


@functools.cache
def nginx(backend: int, mail: int) -> Nginx:
    """
    Start nginx in front of an HTTP server and an SMTP server on these ports.

    It refuses bodies over 100 MB, but reads them.  It treats a client's FIN as a closed
    connection and drops the request (``proxy_ignore_client_abort off``).
    """
    program = find_program("nginx", "nginx-light")
    module = Path("/usr/lib/nginx/modules/ngx_mail_module.so")
    if not module.exists():
        raise Missing(str(module), "libnginx-mod-mail")
    require_root("nginx-light")
    directory = make_directory("nginx")
    settings = directory / "nginx.conf"
    server = certificates.shared().server
    kinds = ("client_body", "fastcgi", "proxy", "scgi", "uwsgi")

    def command(http: int, https: int, smtp: int) -> tuple[str, ...]:
        temporary = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds)
        settings.write_text(f"""\
load_module {module};
daemon off;
master_process off;
user nobody nogroup;
pid {directory}/pid;
error_log {directory}/log;
events {{ worker_connections 1000; }}
http {{
  access_log off;
  {temporary}
  ssl_certificate {server};
  ssl_certificate_key {server};
  client_max_body_size 100m;
  server {{
    listen {HOST}:{http};
    listen {HOST}:{https} ssl;
    location / {{ proxy_pass http://{HOST}:{backend}; }}
    location /mail {{
      add_header Auth-Status OK;
      add_header Auth-Server {HOST};
      add_header Auth-Port {mail};
      return 204;
    }}
  }}
}}
mail {{
  server_name mail.example.test;
  auth_http {HOST}:{http}/mail;
  ssl_certificate {server};
  ssl_certificate_key {server};
  starttls on;
  xclient off;
  server {{
    listen {HOST}:{smtp};
    protocol smtp;
    smtp_auth none;
  }}
}}
""")
        return program, "-c", str(settings), "-e", f"{directory}/log"

    return Nginx(HOST, *serve_on(3, directory, command))


@functools.cache
def haproxy(backend: int) -> Web:
    """Start HAProxy in front of an HTTP server on this port."""
    program = find_program("haproxy", "haproxy")
    directory = make_directory("haproxy")
    settings = directory / "haproxy.cfg"
    server = certificates.shared().server

    def command(http: int, https: int) -> tuple[str, ...]:
        settings.write_text(f"""\
defaults
  mode http
  timeout connect 30s
  timeout client 30s
  timeout server 30s
frontend all
  bind {HOST}:{http}
  bind {HOST}:{https} ssl crt {server}
  default_backend application
backend application
  server application {HOST}:{backend}
""")
        return program, "-db", "-f", str(settings)

    return Web(HOST, *serve_on(2, directory, command))


@functools.cache
def lighttpd() -> Web:
    """Start lighttpd without an application; it refuses bodies over 1 MiB."""
    program = find_program("lighttpd", "lighttpd")
    module = Path("/usr/lib/lighttpd/mod_openssl.so")
    if not module.exists():
        raise Missing(str(module), "lighttpd-mod-openssl")
    directory = make_directory("lighttpd")
    settings = directory / "lighttpd.conf"
    certificate = shutil.copy(certificates.shared().server, directory)
    (directory / "index.html").write_text("hello\n")

    def command(http: int, https: int) -> tuple[str, ...]:
        settings.write_text(f"""\
server.modules = ("mod_openssl", "mod_indexfile")
server.document-root = "{directory}"
server.bind = "{HOST}"
server.port = {http}
server.max-request-size = 1024
server.upload-dirs = ("{directory}")
index-file.names = ("index.html")
$SERVER["socket"] == "{HOST}:{https}" {{
  ssl.engine = "enable"
  ssl.pemfile = "{certificate}"
}}
""")
        return program, "-D", "-f", str(settings)

    return Web(HOST, *serve_on(2, directory, command))


@functools.cache
def stunnel(backend: int) -> int:
    """Start stunnel; return its port, which leads through TLS to port `backend`."""
    program = find_program("stunnel4", "stunnel4")
    directory = make_directory("stunnel")
    settings = directory / "stunnel.conf"
    certificate = own_certificate(directory, 0)

    def command(port: int) -> tuple[str, ...]:
        settings.write_text(f"""\
foreground = yes
syslog = no
pid =
[tests]
accept = {HOST}:{port}
connect = {HOST}:{backend}
cert = {certificate}
""")
        return program, str(settings)

    (port,) = serve_on(1, directory, command)
    return port
