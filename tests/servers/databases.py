"""Databases: slapd, PostgreSQL, MariaDB."""

from __future__ import annotations

import functools
import shutil
import subprocess

from tests import certificates
from tests.packages import find_program
from tests.servers.daemon import (
    HOST,
    Server,
    as_user,
    make_directory,
    own_certificate,
    require_root,
    serve,
)


@functools.cache
def slapd(client_certificates: str = "never") -> Server:
    """
    Start slapd, an LDAP server with GnuTLS, which has only a root entry.

    :param client_certificates: never, allow or demand.
    """
    program = find_program("slapd", "slapd")
    directory = make_directory("slapd")
    shared = certificates.shared()
    settings = directory / "slapd.conf"
    settings.write_text(f"""\
TLSCertificateFile {shared.server}
TLSCertificateKeyFile {shared.server}
TLSCACertificateFile {shared.ca}
TLSVerifyClient {client_certificates}
pidfile {directory}/pid
""")
    return serve(
        directory,
        lambda port: (
            *(program, "-d", "0"),
            *("-f", str(settings), "-h", f"ldap://{HOST}:{port}/"),
        ),
    )


@functools.cache
def postgresql() -> Server:
    """Start PostgreSQL; every client may log in as postgres."""
    program = find_program("postgres", "postgresql-15")
    initdb = find_program("initdb", "postgresql-15")
    require_root("postgresql-15")
    directory = make_directory("postgresql")
    shutil.chown(directory, "postgres")
    data = str(directory / "data")
    subprocess.run(
        as_user("postgres", initdb, "-D", data, "-A", "trust", "--no-sync"),
        check=True,
        capture_output=True,
        cwd=directory,
    )
    certificate = own_certificate(directory, "postgres")
    settings = (
        f"listen_addresses={HOST}",
        "unix_socket_directories=",
        "fsync=off",
        "ssl=on",
        f"ssl_cert_file={certificate}",
        f"ssl_key_file={certificate}",
    )
    options = [word for each in settings for word in ("-c", each)]
    return serve(
        directory,
        lambda port: as_user(
            "postgres", program, "-D", data, "-p", str(port), *options
        ),
        "ready to accept connections",
    )


@functools.cache
def mariadb() -> Server:
    """Start MariaDB without tables; every client may log in."""
    program = find_program("mariadbd", "mariadb-server")
    require_root("mariadb-server")
    directory = make_directory("mariadb")
    data = directory / "data"
    data.mkdir()
    shutil.chown(data, "mysql")
    certificate = own_certificate(directory, "mysql")
    options = (
        "--no-defaults",
        "--user=mysql",
        "--skip-grant-tables",
        "--innodb=OFF",
        "--default-storage-engine=Aria",
        f"--bind-address={HOST}",
        f"--datadir={data}",
        f"--socket={data}/socket",
        f"--pid-file={data}/pid",
        f"--ssl-cert={certificate}",
        f"--ssl-key={certificate}",
    )
    return serve(
        directory,
        lambda port: (program, *options, f"--port={port}"),
        "ready for connections",
    )
