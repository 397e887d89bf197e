"""Credentials on command lines, by what each tool calls them: `curl -u a:b`, `mysql -p…`, `docker login -p …`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from agent.transform.redaction.checks import mixed
from agent.transform.redaction.prose import ANY, strong
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.stems import stems

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

_USER_FLAG = re.compile(
    r"(?<!\S)(?:-u|--user|--proxy-user|-U|-a|-A|--auth)[ =]{0,2}\\*[\"']?(?P<user>[^\s:\"'/\\]{1,64}):(?P<secret>[^\s\"'\\]{1,256})"
)
_TOOL = re.compile(
    r"\b(?P<tool>mysql|mysqldump|mysqladmin|mariadb(?:-dump)?|sshpass|redis-cli|mongo(?:sh|dump)?|7z[az]?|unzip|zip|unrar|rar|useradd|usermod|net user \S{1,64}|ConvertTo-SecureString|vncpasswd|ldap(?:search|modify|add|delete)"
    r"|rabbitmqctl (?:add_user|change_password|authenticate_user) \S{1,64}|htpasswd -\w*b\w* (?:-\w{1,3} ){0,3}\S{1,200} \S{1,64}|net use|wpa_passphrase \S{1,64}"
    r"|ssh-keygen|openssl|keytool|jarsigner|(?:docker|podman|az|oc|helm registry|buildah|skopeo|nerdctl|cf|vault|gh|heroku|quay)(?: \S{1,40}){0,2} login|smbclient|sqlcmd|bcp|mosquitto_(?:pub|sub)|ipmitool|snmpget|snmpwalk)"
    r"(?=[ ])(?P<rest>[^|;\n]{1,400})"
)
_TOOL_STEMS = stems(
    *(
        "mysql",
        "mariadb",
        "sshpass",
        "redis-cli",
        "mongo",
        "7z",
        "unzip",
        "zip",
        "unrar",
        "rar",
        "useradd",
        "usermod",
        "net us",
    ),
    *(
        "convertto-",
        "vncpasswd",
        "ldap",
        "rabbitmqctl ",
        "htpasswd ",
        "wpa_passphrase ",
        "ssh-keygen",
        "openssl",
        "keytool",
    ),
    *(
        "jarsigner",
        "docker",
        "podman",
        "az ",
        "oc ",
        "helm ",
        "buildah",
        "skopeo",
        "nerdctl",
        "cf ",
        "vault",
        "gh ",
        "heroku",
    ),
    *("quay", "smbclient", "sqlcmd", "bcp", "mosquitto_", "ipmitool", "snmpget", "snmpwalk"),
)
_OPTIONS: dict[str, re.Pattern[str]] = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "mysql": r" -p(?=[^\s-])",
        "sshpass": r" -p ?",
        "redis": r" (?:-a|--pass) ",
        "zip": r" -[pP] ?(?=\S)",
        "ldap": r" -w ",
        "next": r" ",
        "net": r" (?:/user:\S{1,64}|\\{2,16}[^\s/\\]\S{0,200}) (?!/)",
        "openssl": r" -(?:pass(?:in|out)?|k|K) (?:pass:)?",
        "keytool": r" -(?:storepass|keypass|srcstorepass|deststorepass)(?: |:)",
        "login": r" (?:-p|--token|-t|--password)[ =]",
        "smb": r"%(?=\S)",
        "sql": r" -P ?(?=\S)",
        "snmp": r" -[AXP] ",
        "keygen": r" -[NP] ?(?=\S)",
    }.items()
}
_KIND = (
    ("mysql", "mysql"), ("maria", "mysql"), ("sshpass", "sshpass"), ("redis", "redis"), ("mongo", "login"), ("7z", "zip"), ("unzip", "sql"), ("zip", "sql"), ("unrar", "zip"), ("rar", "zip"), ("user", "sshpass"), ("net user", "next"), ("ConvertTo", "next"), ("vncpasswd", "next"), ("ldap", "ldap"), ("rabbit", "next"), ("htpasswd", "next"), ("wpa", "next"),
    ("ssh-keygen", "keygen"), ("net use", "net"), ("openssl", "openssl"), ("keytool", "keytool"), ("jarsigner", "keytool"), ("smbclient", "smb"), ("sqlcmd", "sql"), ("bcp", "sql"), ("mosquitto", "sql"), ("ipmitool", "sql"), ("snmp", "snmp"),
)  # fmt: skip
_NEXT_WORD = re.compile(r"(?:ENV|setx|setenv|SETX) (?P<name>[A-Za-z][A-Za-z0-9_]{1,80})[ ]{1,3}(?=[^\s=])")
_DIRECTIVE = re.compile(
    r"(?i:\b(?:bindpw|requirepass|masterauth|rootpw|masteruserpass|r[ow]community6?))(?:[ \t]--[a-z]{4,12})?[ \t\"'\\,]{1,12}(?P<secret>[^\s\"'\\]{4,256})"
)
_ACL = re.compile(
    r"\b(?:ACL[\" ]{1,3}SETUSER[\" ]{1,3}|user (?=[\w.\-]{1,64} (?:on|off) ))[^\n]{1,200}?[\" ]>(?P<secret>[^\s\"'\\]{2,256})"
)
_OTHER_STEMS = stems(
    *(
        " login ",
        " /rp ",
        "addauth ",
        "smtp",
        "imap",
        "pop",
        "ftp",
        "sftp",
        "ssh",
        "telnet",
        "nntp",
        "xmpp",
        "mqtt",
        "ldap",
    ),
    *("sasl", "chpasswd", "key", "[", "plain(", "snmp", "encrypt", "u:", "u=", "user", ":pserver:", ":ext:", ":sspi:"),
    *("http-basic.", "alias set ", "gh secret ", "password ", "secret ", "tacacs-", "radius-"),
)
_IMAP_TAG = re.compile(r"\b[A-Za-z]{0,4}\d{1,6}\Z")
# `A001 LOGIN bob x` of IMAP, `/rp x` of schtasks, `chpasswd <<< bob:x`, `gh secret set NAME --body x`, `password 7 x` of routers.
_OTHERS = re.compile(
    r"(?:(?<=\d) LOGIN \\*\"?[^\s\"\\]{1,128}\\*\"? | /rp |addauth digest [\w.\-]{1,64}:|(?i:\b(?:smtps?|imaps?|pop3?s?|ftps?|sftp|ssh|telnet|nntp|xmpp|mqtt|ldaps?|sasl)[ _.-]?(?:auth )?(?:log_?in|log_?on|auth):? )(?:as |user |with )?\\*[\"']?[\w.@+-]{1,128}\\*[\"']? |chpasswd:(?: list:| line \d{1,4}:)?[ |\\rn]{0,8}[\w.\-]{1,64}:|chpasswd <<< ?\\*[\"']?[\w.\-]{1,64}:|\bkeys? \d{1,5} (?:SHA\d{0,3}|MD5|M|AES\w{0,12}) |\[[\w.\-]{1,100}\](?::\d{2,5})?[ \t]{1,8}[\w.@+\-]{1,64}:|\bPLAIN\((?=[^\s,()]{4,128}\) ?!=)|(?i:\bsnmp[\w -]{0,40}\bcommunity)[ =:]{1,3}|(?<![Pp]ublic)(?<![Pp]ublic[ _-])(?<!PUBLIC[ _-])(?<![Pp]ub)(?<!ocket-)(?<!host )(?<!cache[ _-])(?i:key)\\*[\"']? ?[:=]? ?(?=\\*[\"']?(?:[A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{38}==|[A-Za-z0-9+/]{43}=)(?![\w+/=]))|\bencrypt\\*[\"']? ?[:=] ?(?=\\*[\"'](?:[A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{43}=))|(?i:\bu(?:ser)?[:=] ?[\w.@\-]{1,64}[ ,;/]{1,3}p(?:w|wd)?[:=] ?)|:(?:pserver|ext|sspi):[\w.@\-]{1,64}:(?=[^\s@]{4,128}@)|\b(?i:user [\w.]{1,64} using) |\bhttp-basic\.\S{1,100} \S{1,64} |\balias set \S{1,64} https?://\S{1,200} \S{3,64} |gh secret set [A-Z_a-z0-9]{1,80} (?:--body|-b)[ =]"
    r"|(?i:\b(?:password|secret|key(?:-string)?) [05-9] |\b(?:tacacs|radius)-server [^\n]{0,60}?\bkey (?:\d )?))\\*[\"']?(?P<secret>[^\s\"'\\]{4,512})"
)
_ORACLE = re.compile(
    r"(?:(?<![\w/.:@-])(?=[A-Za-z][\w$#.-]{0,63}/[^\s\"'@/]{1,128}@//)|jdbc:oracle:[a-z]{2,6}:|\b(?:sqlplus|impdp|expdp|sqlldr|exp|imp|(?i:connect|conn)) (?:-\w{1,2} ){0,3})[A-Za-z0-9_.$#-]{1,64}/(?P<secret>[^\s\"'@/]{2,128})(?=@)"
)
_PIPED = re.compile(
    r"\becho (?:-n )?(?P<quote>\\*[\"']?)(?P<secret>[^|\"'\n\\]{4,200}?)(?P=quote) ?\|[^|\n]{0,100}?(?:sudo -S|--password-stdin|--stdin|chpasswd|\bpasswd|cryptsetup|kinit|ssh-add|smbpasswd|secret (?:create|put|set))"
)
_USER_AND = re.compile(
    r"(?<!\S)(?:-u|-U|-l|--user(?:name)?|--login|/u(?:ser)?:?)[ =]?\\*[\"']?[\w.@\\\-]{1,64}\\*[\"']? (?:-p|-P|-pw|-w|--pw|--pass|/p(?:ass(?:word)?)?:?)[ =]?(?=[^\s\-])"
)
"""`tool -u bob -p x`: whatever the tool is."""
_HANDED_IN = re.compile(
    r"\b(?:log_?in|passwd|chpasswd|runas|sudo|su|kinit|gpg|cryptsetup|ssh-add|smbpasswd|auth)\b[^\n<]{0,120}<<< ?\\*[\"']?(?P<secret>[^\s\"'\\]{6,256})"
)
_NUL = r"\\{1,8}(?:x00|u0000)"
_SASL = re.compile(rf"{_NUL}[\w.@+\-]{{1,64}}{_NUL}(?P<secret>[^\s\"'\\\x00]{{4,256}})")
"""The user and the password with a zero byte before each, as programs print them."""
_ADD_STEMS = stems("user", "add", "create", "new", "set", "passwd", "mosquitto", "smb", "ht", "vnc", "cups", "db")
_ADDED = re.compile(
    r"(?i:\b(?:users?[ _-]?(?:add|create|new|set)|(?:add|create|new|set)[ _-]?user|(?:mosquitto|smb|ht|vnc|cups|db)_?passwd -\w{1,4}(?: [^\s]{0,80}/[^\s]{0,80})?) )\\*[\"']?[\w.@\-]{1,64}\\*[\"']? \\*[\"']?(?P<secret>[^\s\"'\\]{8,256})"
)
_SNMP_USER = re.compile(
    r"\bcreateUser (?:-e \S{1,64} )?[\w.\-]{1,64} (?:MD5|SHA\S{0,4}) \\*[\"']?(?P<secret>[^\s\"'\\]{6,256})\\*[\"']?(?: (?:DES|AES\S{0,4}) \\*[\"']?(?P<second>[^\s\"'\\]{6,256}))?"
)
_AUTH = re.compile(
    r"\bAUTH(?: (?:PLAIN|LOGIN|CRAM-MD5|XOAUTH2))?[ \"'\\,]{1,32}(?:[a-z][a-z_]{1,30}[ \"'\\,]{1,32})?(?P<secret>[^\s\"'\\,]{6,2048})"
)


_ARGUMENTS = re.compile(
    r"\b(?:curl(?P<a>\\*[\"'])(?:, ?(?P=a)[^\"'\\]{0,200}(?P=a)){0,12}?, ?(?P=a)(?:-u|--user|--proxy-user|-U)(?P=a), ?(?P=a)[^\s:\"'/\\]{1,64}:(?![\"'/\\])"
    r"|(?:mysql|mysqldump|mysqladmin|mariadb|mariadb-dump|sshpass)(?P<b>\\*[\"'])(?:, ?(?P=b)[^\"'\\]{0,200}(?P=b)){0,12}?, ?(?P=b)-p)"
    r"(?P<secret>[^\s\"'\\]{4,256})(?=\\*[\"'])"
)
"""`['curl', '-u', 'bob:x']`, `['mysql', '-uroot', '-px']`."""


def scan_user(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`tool -u bob:x`, `tool -u bob -p x`, whatever the tool is."""
    leaves = verifier.gate.leaves
    for found in verifier.each(_USER_FLAG, text):
        if not found["secret"].isdigit() and not leaves(found["secret"], ANY):
            yield Hit(*found.span("secret"), "cli-password")
    for found in verifier.each(_USER_AND, text) if " -" in text or "/" in text else ():
        value = verifier.value(text, found.end())
        secret = text[value.start : value.end] if value else ""
        if value and strong(secret, 6) and not leaves(secret, ANY):
            yield Hit(value.start, value.end, "cli-password")


def scan_added_user(text: str, verifier: Verifier) -> Iterator[Hit]:
    """A user and the password beside, by the form of the command and not by its name."""
    leaves = verifier.gate.leaves
    for found in verifier.each(_HANDED_IN, text) if "<<<" in text else ():
        if strong(found["secret"], 6) and not leaves(found["secret"], ANY):
            yield Hit(*found.span("secret"), "cli-password")
    for found in verifier.each(_SASL, text) if "x00" in text or "u0000" in text else ():
        if strong(found["secret"], 4) and not leaves(found["secret"], ANY):
            yield Hit(*found.span("secret"), "cli-password")
    for found in verifier.each_at(_ADD_STEMS, text, _ADDED):
        secret = found["secret"]
        if mixed(secret) and strong(secret, 8) and not leaves(secret, ANY):
            yield Hit(*found.span("secret"), "cli-password")
    for found in verifier.each(_SNMP_USER, text) if "createUser" in text else ():
        for part in ("secret", "second")[: found.lastindex]:
            yield Hit(*found.span(part), "cli-password")


def scan_tool(text: str, verifier: Verifier) -> Iterator[Hit]:
    """Whatever these tools take as a password."""
    for found in verifier.each_at(_TOOL_STEMS, text, _TOOL):
        yield from _options(text, found, verifier)


def scan_arguments(text: str, verifier: Verifier) -> Iterator[Hit]:
    """Commands as lists, as they stand in Python's errors. Only those whose option is nothing but a password: of a longer list
    of tools the options mean users, ports and paths."""
    for found in verifier.each(_ARGUMENTS, text):
        yield from _secret_in(found, 4, verifier)


def scan_env(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`ENV API_TOKEN x` of a Dockerfile, `setx API_TOKEN x`."""
    for found in verifier.each(_NEXT_WORD, text):
        verdict = verifier.names.verdict(found["name"])
        value = verifier.value(text, found.end()) if verdict else None
        if verdict and value and not verifier.gate.leaves(text[value.start : value.end], verdict):
            yield Hit(value.start, value.end, verdict.rule)


def scan_client(text: str, verifier: Verifier) -> Iterator[Hit]:
    """What clients of a protocol say to their server, and files of settings that name no name."""
    for found in verifier.each_at(_OTHER_STEMS, text, _OTHERS):
        if not text.startswith(" LOGIN ", found.start()) or _IMAP_TAG.search(
            text, max(0, found.start() - 12), found.start()
        ):
            yield from _secret_in(found, 4, verifier)


def scan_directive(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`bindpw x`, `requirepass x`; `ACL SETUSER bob on >x`; `AUTH x`."""
    for pattern, least in ((_ACL, 0), (_DIRECTIVE, 4), (_AUTH, 6)):
        for found in verifier.each(pattern, text):
            yield from _secret_in(found, least, verifier)


def scan_oracle(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`sqlplus scott/x@db`."""
    for found in verifier.each(_ORACLE, text):
        yield from _secret_in(found, 0, verifier)


def scan_piped(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`echo x | docker login --password-stdin`."""
    for found in verifier.each(_PIPED, text):
        yield from _secret_in(found, 0, verifier)


def _secret_in(found: re.Match[str], least: int, verifier: Verifier) -> Iterator[Hit]:
    if not verifier.gate.leaves(found["secret"], ANY) and (not least or strong(found["secret"], least)):
        yield Hit(*found.span("secret"), "cli-password")


def _options(text: str, found: re.Match[str], verifier: Verifier) -> Iterator[Hit]:
    kind = next((kind for start, kind in _KIND if found["tool"].startswith(start)), "login")
    places = _OPTIONS[kind].finditer(text, found.start("rest"), found.end())
    for place in islice(places, 1) if kind == "next" else places:
        value = verifier.value(text, place.end())
        if value is not None:
            secret = text[value.start : value.end]
            if not (verifier.gate.leaves(secret, ANY) or secret.startswith("-") or re.fullmatch(r"\d{2,5}", secret)):
                yield Hit(value.start, value.end, "cli-password")
