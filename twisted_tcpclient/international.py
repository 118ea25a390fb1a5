"""
Names that are not ASCII: UTS 46, non-transitional, then IDNA 2008 where possible.

Imported only for such a name.
"""

from __future__ import annotations

import idna

#: Zero width non-joiner and joiner: allowed in some contexts only (RFC 5892, A).
_JOINERS = "\u200c\u200d"


def to_ascii(name: str) -> str:
    """
    Return the ASCII form of a name (UTS 46, 4.2).

    :raises ValueError: if UTS 46 does not allow the name.
    """
    # Without STD3 rules, as names in DNS and in hosts(5) have underscores.  idna is
    # non-transitional by default, and 3.20 announces that the argument will go.
    mapped = idna.uts46_remap(name, std3_rules=False)
    return ".".join(_label(label) for label in mapped.split("."))


def _label(label: str) -> str:
    """
    Return the ASCII form of one label that UTS 46 has mapped.

    :raises ValueError: if neither IDNA 2008 nor UTS 46 allows it.
    """
    if label.isascii():
        return label
    try:
        return idna.alabel(label).decode("ascii")
    except (idna.InvalidCodepoint, idna.InvalidCodepointContext):
        # IDNA 2008 excludes symbols, such as emoji, but registered names contain them.
        return _symbolic(label)


def _symbolic(label: str) -> str:
    """
    Return the ASCII form of a label that is valid in UTS 46 alone.

    alabel() has checked hyphens and combining marks before it looks at characters.

    :raises ValueError: if a joiner is out of context, or directions are mixed.
    """
    for position, character in enumerate(label):
        if character in _JOINERS and not idna.valid_contextj(label, position):
            raise ValueError(label)
    idna.check_bidi(label)
    return "xn--" + label.encode("punycode").decode("ascii")
