"""Rules that are off unless asked for: what is no secret at most sites, or only looks like one."""

from __future__ import annotations

from dataclasses import replace

from agent.transform.redaction.rule import Rule
from agent.transform.redaction.shapes import group

_RULES = (
    Rule(
        "phone",
        "",
        "telephone number with country code",
        find=(r"\+[1-9][0-9 ()./\-]{7}",),
        scanner="phone",
        action="pseudonym",
        must=("call «+49{n:9}»", "phone=«+1 ({n:3}) {n:3}-{n:4}»", '{"tel": "«+44 20 {n:4} {n:4}»"}'),
        must_not=("+1", "a+{d:3}", "offset +01:00"),
    ),
    Rule(
        "ip-address",
        "",
        "IPv4, IPv6 or MAC address",
        find=(
            r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
            r"[0-9a-fA-F]{0,4}:[0-9a-fA-F]{0,4}:[0-9a-fA-F:]",
            r"(?:[0-9a-fA-F]{2}-){5}[0-9a-fA-F]{2}",
        ),
        scanner="address",
        action="pseudonym",
        must=("from «192.168.7.21» port 5", "peer «2001:db8::8a2e:370:7334»", "mac «00:1b:44:11:3a:b7»"),
        must_not=("version 1.2.3.4", "1.2.3.400", "at 12:30:45"),
        traps="versions, times",
    ),
    Rule(
        "national-id",
        "",
        "identity number with check digits beside the word for it",
        find=(
            r"(?i)(?:steuer-?(?:id|nummer|identifikationsnummer)|idnr|tax[ _\-]?id|nino|national insurance|ni[ _\-]?number|nhs|nir|curit. sociale|insee|dni|nie|nif|codice[ _\-]?fiscale|cf|bsn|burgerservice|pesel|cpf)[^\n]{0,34}?[A-Z0-9]{2}",
        ),
        scanner="national-id",
        must=("Steuer-ID «86095742719»", "NHS number «943 476 5919»", "dni: «12345678Z»"),
        must_not=("Steuer-ID 86095742718", "NHS number 943 476 5918", "order 86095742719"),
    ),
    Rule(
        "person",
        "",
        "name, birthday or postal address by the name of its field",
        scanner="names",
        must=('{"first_name": "«{a:6}»"}', '{"dob": "«1990-01-02»"}', "street_address='«{a:6} 5»'"),
        must_not=('{"first_name": null}', '{"username": "bob"}', '{"street_count": 3}'),
    ),
    Rule(
        "geo",
        "",
        "coordinates by the name of their field",
        scanner="names",
        must=('{"latitude": «52.{d:4}»}', '{"lon": «13.{d:4}»}', '{"geo_point": "«52.{d:4},13.1»"}'),
        must_not=('{"lat": null}', '{"latency": 12.5}', '{"long": "text"}'),
    ),
    Rule(
        "high-entropy",
        "",
        "random-looking string within 30 characters of a sensitive word",
        find=(
            r"(?i)(?:password|passwd|secret|token|api[ _\-]?key|credential|private[ _\-]?key)[^\n]{0,34}?[a-z0-9_\-]{20}",
        ),
        scanner="entropy",
        preset="secrets",
        action="tag_only",
        must=("token store «{b62:24}» kept", "secret entry «{b62:32}» read", "api key slot «{b62:28}» used"),
        must_not=("token store greenstack-token-2024-x", "secret entry {hexl:32}", "token of {=uuid} kept"),
        traps="ids, digests, file names: it only counts unless you choose an action",
    ),
)
RULES = group(
    "optional",
    *(replace(rule, default=False, preset="pii" if rule.id != "high-entropy" else "secrets") for rule in _RULES),
)
