"""
The list of options in the man page, made from the table of options.

``make man`` runs this module, which rewrites the list in doc/tcpclient.1.rst.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from twisted_tcpclient import dialects
from twisted_tcpclient.command.help import effect, either
from twisted_tcpclient.command.table import GROUPS, Group, Option
from twisted_tcpclient.settings import CERTIFICATES

PAGE = Path(__file__).resolve().parents[2] / "doc" / "tcpclient.1.rst"

#: The lines of the page around the list.
BEGIN = ".. The list of options, written by make man, begins here.\n"
END = ".. The list of options ends here.\n"

_GREETING = [name for name in dialects.NAMES if dialects.find(name).greeting]

#: The explanation of an option that follows its text of the table.
EXPLANATIONS = {
    "verbose": """
        Progress is each address that is tried, the address that has answered, and the
        TLS version, cipher and certificate.  If STARTTLS fails, the reply of the server
        is printed too; it is unauthenticated, and is printed escaped.
    """,
    "endpoint": "See Endpoints_.",
    "tcp": """
        A *host* that contains a slash or begins with ``@`` is an error.
    """,
    "connect-timeout": """
        The look-up of the name may take X+Y seconds, too.  Without +Y the limit is X.
    """,
    "local-ip": """
        Only addresses of the same family are tried.  The option has no effect on UNIX
        sockets.
    """,
    "local-port": "The option has no effect on UNIX sockets.",
    "interface": """
        This needs Linux, and before Linux 5.7 also root.
    """,
    "idle-timeout": """
        SECONDS also limits the whole STARTTLS dialogue, the TLS handshake, and with
        ``-E`` connecting.  The option has no effect on a *prog* that has the socket
        itself.
    """,
    "shutdown": """
        **now** is for a server that sends nothing, or that answers only after the end
        of its input.  With **never** the server has to end the session.  With a number
        the server is told after it has been quiet for so many seconds, see `The end of
        a connection`_.  The option has no effect on a *prog* that has the socket
        itself.
    """,
    "tls": "With ``-s``, in any order, TLS begins after STARTTLS.",
    "starttls": """
        Other packages may add protocols: **tcpclient --help** lists them.
    """,
    "greeting": f"""
        PROTOCOL must be {either(_GREETING)}.  In the other protocols the client speaks
        first, or the server greets within TLS.
    """,
    "certificate": """
        The server gets the certificate if it asks for one.  FILE is PEM with the
        certificate, its chain and its key.  If the key is encrypted, the passphrase is
        read from the terminal only.  An empty FILE stands for $TLS_CERTFILE; if that is
        not set, for clientcert.pem in the certificate directory; if that is absent, for
        no certificate.
    """,
    "certificate-directory": f"""
        The files are clientcert.pem, serverca.pem and servercrl.pem.  The default is
        $CERTDIR, else {CERTIFICATES}.  Only {CERTIFICATES} may be absent.  A file that
        exists and cannot be read is an error, and so is a directory that cannot be
        searched.
    """,
    "ca-file": """
        FILE is PEM.  The default is $SERVERCA, else serverca.pem in the certificate
        directory if it exists, else the CAs that the system trusts.
    """,
    "crl-file": """
        FILE is PEM.  It must have a current list of the CA that has issued the server's
        certificate.  CAs above that CA need no list.  The default is $SERVERCRL, else
        servercrl.pem in the certificate directory if it exists, else no list is
        checked.
    """,
    "match": """
        NAME is a name or an IP address, is converted as *host* is, and is sent as SNI.
        If the certificate holds neither a DNS name nor an IP address, its common name
        (CN) may be NAME.
    """,
    "insecure": "**tcpclient** prints a warning.",
    "tls-method": """
        SSLv23 stands for the default.  Older versions are not supported.
    """,
    "ciphers": r"""
        LIST is separated by colons.  Names that begin with TLS\_ are cipher suites of
        TLS 1.3; the others are an OpenSSL cipher list for TLS 1.2.  If LIST contains a
        slash, it is the path of a file, whose first word is taken.  The default is
        $TLS_CIPHER_LIST for TLS 1.2 and $TLS_CIPHER_SUITE for TLS 1.3.
    """,
    "ignore-unexpected-eof": """
        Such an end counts as orderly.  Cyrus, OpenSMTPD, pure-ftpd and ejabberd, among
        others, end every session in this way.  The option gives up the protection
        against truncation: an attacker on the way can end the connection early, and the
        status is still 0.  It is safe where the protocol marks its own end, as SMTP and
        IMAP do with the answers to QUIT and LOGOUT, and where the received data is
        checked.  ``-v`` says when a session ended in this way.  Without TLS the option
        is an error.
    """,
    "crlf": """
        Most protocols of mail want CRLF.  A CRLF stays as it is.  With *prog* the
        option is an error.
    """,
    "system-names": "/etc/hosts is included.",
    "remote-info": "The protocol is that of RFC 1413.",
    "lookup-timeout": "The look-ups run at the same time.",
}

#: The paragraph after the options of a group.
NOTES = {
    "Environment of prog": "Nothing is looked up without *prog*, nor for UNIX sockets."
}


def _filled(text: str, indent: str = "") -> str:
    """Return a text as one paragraph, wrapped to the width of the page."""
    return textwrap.fill(
        " ".join(text.split()),
        92,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _marked_up(text: str) -> str:
    """Return a text of the table with options and arguments as the page writes them."""
    text = re.sub(r"(?<![\w`-])--?[a-zA-Z][\w-]*", r"``\g<0>``", text)
    return re.sub(
        r"(?<![\w:])(HOST|PORT|prog)(?![\w:])", lambda m: f"*{m[0].lower()}*", text
    )


def entry(option: Option) -> str:
    """Return the entry of an option: its spellings, its effect, its explanation."""
    spellings = dict.fromkeys((option.spelling, f"--{option.name}"))
    value = "" if option.value is None else f" <{option.value.name}>"
    text = _marked_up(effect(option))
    explanation = EXPLANATIONS.get(option.name, "")
    return "\n".join(
        (
            ", ".join(f"{spelling}{value}" for spelling in spellings),
            _filled(f"{text[0].upper()}{text[1:]}. {explanation}", "    "),
        )
    )


def _section(group: Group) -> str:
    """Return the section of a group: heading, entries, and the note if there is one."""
    notes = [NOTES[group.title]] if group.title in NOTES else []
    heading = f"{group.title}\n{'-' * len(group.title)}"
    return "\n\n".join([heading, *map(entry, group.options), *notes])


def option_list() -> str:
    """Return the list of options, with the lines around it."""
    return "\n".join((BEGIN, "\n\n".join(map(_section, GROUPS)), "", END))


def updated(page: str) -> str:
    """
    Return a page with the list of options as it is now.

    :raises ValueError: if the page has no place for it.
    """
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError("the page has no place for the list of options")
    return f"{before}{option_list()}{after}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
