"""Personal data that is more than digits: mail addresses, IBANs, network addresses."""

import ipaddress
import re
from collections.abc import Iterator

from rag_pipeline.guardrails.pii import checksums
from rag_pipeline.guardrails.pii.kinds import Kind
from rag_pipeline.guardrails.pii.watch import Watch, unwatched

# ASCII classes instead of \w and \b, for which a Korean particle right after the address is a part of the word.
_LOCAL = r"[A-Za-z0-9][A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{0,63}"
_EMAIL = re.compile(
    rf"(?<![A-Za-z0-9]){_LOCAL}@(?:[A-Za-z0-9-]{{1,63}}\.)+(?P<top>[A-Za-z]{{2,24}}|xn--[a-z0-9-]+)(?![A-Za-z0-9])"
)
_HANGUL_EMAIL = re.compile(
    r"(?<![A-Za-z0-9\uac00-\ud7a3])[\uac00-\ud7a3A-Za-z0-9._+-]{2,64}@(?:[A-Za-z0-9-]{1,63}\.)+(?P<top>[A-Za-z]{2,24})"
)
_NO_TOP = {"png", "jpg", "jpeg", "gif", "svg", "webp", "service", "socket", "timer", "target", "mount", "py", "js", "css", "html"}
_AT = r" ?(?:@|[\[({<] ?(?i:at) ?[\])}>]|골뱅이) ?"
_DOT = r" ?(?:\.|[\[({<] ?(?i:dot) ?[\])}>]) ?"
_DOT_WORD = r" ?[\[({<] ?(?i:dot) ?[\])}>] ?"
_TOPS = r"(?i:com|net|org|edu|gov|io|kr|jp|cn|de|fr|uk|us|eu|info|biz|ac|co|me|dev|app|example|test)"
_SPACED_EMAIL = re.compile(
    rf"(?<![A-Za-z0-9])[A-Za-z0-9](?:(?:[._+-]|{_DOT_WORD})?[A-Za-z0-9]){{1,40}}{_AT}[A-Za-z0-9-]{{2,40}}(?:{_DOT}[A-Za-z0-9-]{{2,30}}){{0,3}}"
    rf"{_DOT}{_TOPS}(?![A-Za-z0-9])"
)
_LETTERED_EMAIL = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z0-9](?: ?[._+-]? [A-Za-z0-9]){1,40} ?@ ?[A-Za-z0-9](?: ?[.-]? ?[A-Za-z0-9](?![A-Za-z0-9])){3,60}"
    r"(?![A-Za-z0-9])"
)
_AT_SIGN = re.compile(_AT)
_NEAR = 120
"""Characters around an at sign within which a disguised address is looked for."""
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z] ?[A-Za-z][-. ]{0,3}\d[-. ]{0,3}\d(?=[-. A-Za-z0-9]{11})")
_IBAN_CHARACTERS = 140
"""Characters, separators included, within which an IBAN ends."""
_IPV4 = re.compile(r"(?<![A-Za-z0-9_.])\d{1,3}(?: ?\. ?\d{1,3}){3}(?![A-Za-z0-9_]|\.\d)")
_LETTERED_IPV4 = re.compile(r"(?<![A-Za-z0-9_.])\d(?: ?\d){0,2}(?: ?\. ?\d(?: ?\d){0,2}){3}(?![A-Za-z0-9_]| ?\. ?\d| \d)")
_IPV6 = re.compile(r"(?<![A-Za-z0-9_:.])(?:[0-9A-Fa-f]{0,4}:){3,7}(?:[0-9A-Fa-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?(?![A-Za-z0-9_:])")
_PRIVATE = {
    4: [
        ipaddress.ip_network(network)
        for network in (
            *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10"),
            *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15"),
        )
    ],
    6: [ipaddress.ip_network(network) for network in ("fc00::/7", "fe80::/10", "::1/128", "2001:db8::/32", "3fff::/20")],
}
"""Named here, as what the library holds for private differs by its version."""
_LINE_START = re.compile(r"(?:^|\n)[^\S\n]*\Z")
_VERSION = re.compile(r"(?i:\bv|version|release|버전|section|§)\s*$")


def find_emails(text: str, watch: Watch = unwatched) -> Iterator[tuple[Kind, int, int]]:
    """Kind and span of every mail address in the folded text, also spelt ``name (at) host [dot] tld`` or letter by letter."""
    if _AT_SIGN.search(text) is None:
        return
    for pattern in (_EMAIL, _HANGUL_EMAIL):
        for match in pattern.finditer(text):
            if match["top"].lower() not in _NO_TOP:
                yield Kind.EMAIL, *match.span()
    for at in _AT_SIGN.finditer(text):
        watch()
        start, end = max(0, at.start() - _NEAR), at.end() + _NEAR
        near = text[start:end]
        for match in _SPACED_EMAIL.finditer(near):
            yield Kind.EMAIL, start + match.start(), start + match.end()
        for match in _LETTERED_EMAIL.finditer(near):
            if re.search(rf"\.{_TOPS}$", match[0].replace(" ", "")):
                yield Kind.EMAIL, start + match.start(), start + match.end()


def find_ibans(text: str, watch: Watch = unwatched) -> Iterator[tuple[Kind, int, int]]:
    """Kind and span of every IBAN in the folded text, whatever separates its groups."""
    for match in _IBAN_START.finditer(text):
        watch()
        wanted = checksums.iban_length(re.sub(r"[^A-Za-z]", "", match[0]).upper())
        taken, at = "", match.start()
        longest = min(len(text), at + _IBAN_CHARACTERS)
        while at < longest and len(taken) < wanted and (text[at] in "-. \n" or _is_word(text[at])):
            taken += text[at] if _is_word(text[at]) else ""
            at += 1
        if wanted and not _is_word(text[at : at + 1]) and checksums.is_iban(taken.upper()):
            yield Kind.IBAN, match.start(), at


def find_addresses(text: str, watch: Watch = unwatched, *, masks_private: bool = False) -> Iterator[tuple[Kind, int, int]]:
    """Kind and span of every network address of one host in the folded text."""
    for pattern in (_IPV4, _LETTERED_IPV4, _IPV6):
        for match in pattern.finditer(text):
            watch()
            if _is_host(match[0].replace(" ", ""), masks_private=masks_private) and not _is_numbering(text, match):
                yield Kind.IP_ADDRESS, *match.span()


def _is_numbering(text: str, match: re.Match[str]) -> bool:
    """Whether it is a version, or the number of a section: small parts at the start of a line, and a title after it."""
    if _VERSION.search(text[max(0, match.start() - 12) : match.start()]):
        return True
    parts = re.findall(r"\d+", match[0])
    is_first = _LINE_START.search(text, max(0, match.start() - 20), match.start()) is not None
    follows = re.match(r"\.? ?[A-Z]", text[match.end() : match.end() + 3])
    return is_first and follows is not None and parts[0] != "10" and all(int(part) < 40 for part in parts)


def _is_host(text: str, *, masks_private: bool) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if not masks_private and any(address in network for network in _PRIVATE[address.version]):
        return False
    is_mask = address.version == 4 and text.startswith("255.")
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or is_mask)


def _is_word(character: str) -> bool:
    return character.isascii() and character.isalnum()
