"""What secrets look like, from their formats and dice; and the lines they come in."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from urllib.parse import quote

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
WORDS = [
    "amber",
    "anchor",
    "arrow",
    "autumn",
    "basket",
    "beacon",
    "bridge",
    "candle",
    "castle",
    "cedar",
    "cinder",
    "cobalt",
    "copper",
    "coral",
    "crystal",
    "desert",
    "ember",
    "falcon",
    "feather",
    "forest",
    "garden",
    "granite",
    "harbor",
    "island",
    "jungle",
    "lantern",
    "maple",
    "meadow",
    "mirror",
    "mountain",
    "nebula",
    "ocean",
    "orchid",
    "pepper",
    "planet",
    "quartz",
    "rabbit",
    "river",
    "saddle",
    "shadow",
    "silver",
    "summer",
    "sunset",
    "thunder",
    "tiger",
    "tulip",
    "valley",
    "velvet",
    "violet",
    "walnut",
    "winter",
    "yellow",
    "zephyr",
]
USERS = ("bob", "alice", "svc-iodd", "j.doe", "admin", "operator7", "müller")


class Dice(random.Random):
    def some(self, alphabet: str, length: int) -> str:
        return "".join(self.choice(alphabet) for _ in range(length))

    def strong(self, low: int = 12, high: int = 32) -> str:
        """Letters of both cases and digits."""
        body = self.some(ALNUM, self.randrange(low, high) - 3)
        return (
            body + self.choice("23456789") + self.choice(string.ascii_lowercase) + self.choice(string.ascii_uppercase)
        )

    def hexa(self, length: int) -> str:
        return self.some(HEX, length)

    def uuid(self) -> str:
        return f"{self.hexa(8)}-{self.hexa(4)}-4{self.hexa(3)}-{self.choice('89ab')}{self.hexa(3)}-{self.hexa(12)}"

    def user(self) -> str:
        return self.choice(USERS)

    def ip(self) -> str:
        return ".".join(str(self.randrange(1, 255)) for _ in range(4))

    def password(self) -> str:
        """What people and password managers choose, for places without quotes."""
        word = self.choice(WORDS)
        return self.choice(
            (
                word + str(self.randrange(2, 9999)),
                word.capitalize() + str(self.randrange(10, 9999)) + self.choice("!?#*"),
                self.strong(),
                self.strong(8, 14) + self.choice("!$%*+") + self.some(ALNUM, 4),
                f"{word}-{self.choice(WORDS)}-{self.randrange(100)}",
                "P@ssw0rd" + str(self.randrange(100)),
                self.some(ALNUM, 6) + "_" + self.some(ALNUM, 6) + "7x",
                self.hexa(32),
                self.uuid(),
            )
        )

    def any_password(self) -> str:
        """Also with what needs quotes."""
        if self.random() < 0.5:
            return self.password()
        word = self.choice(WORDS)
        return self.choice(
            (
                f"{word} {self.choice(WORDS)} {self.choice(WORDS)} {self.choice(WORDS)}",
                f"{word}{self.randrange(99)}, {self.choice(WORDS)}; {self.choice(WORDS)}",
                f"{word}&{self.some(ALNUM, 4)}={self.some(ALNUM, 3)}#9",
                f"{self.some(ALNUM, 4)}/{self.some(ALNUM, 4)}:{self.some(ALNUM, 4)}@{word}7",
                f"<{word}>{self.some(ALNUM, 5)}5",
                f"{word}(){{}}[]{self.some(ALNUM, 5)}3",
                f"größe{word}{self.randrange(99)}ß",
                word,
                str(self.randrange(10**7, 10**9)),
                self.some(string.ascii_uppercase, 9),
            )
        )

    def key(self) -> str:
        return self.choice(
            (self.strong(24, 48), self.hexa(32), self.hexa(40), "q" + self.some(ALNUM + "-_", 27) + "a7Q", self.uuid())
        )


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def b64u(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def jwt(d: Dice) -> str:
    header = d.choice(({"alg": "RS256", "kid": d.hexa(8)}, {"typ": "JWT", "alg": "HS512"}))
    return f"{b64u(header)}.{b64u({'iss': 'https://id.example', 'sub': d.uuid(), 'iat': d.randrange(10**9)})}.{d.some(ALNUM + '-_', d.choice((43, 86, 342)))}"


def pem(d: Dice, newline: str = "\n") -> tuple[str, tuple[str, ...]]:
    kind = d.choice(
        ("RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
    )
    body = [d.some(ALNUM + "+/", 64) for _ in range(d.randrange(2, 12))] + [d.some(ALNUM + "+/", 30) + "=="]
    return newline.join([f"-----BEGIN {kind}-----", *body, f"-----END {kind}-----"]), tuple(body)


def luhn_digit(body: str) -> str:
    total = sum(sum(divmod(int(c) * 2, 10)) if i % 2 == 0 else int(c) for i, c in enumerate(reversed(body)))
    return str(-total % 10)


def card(d: Dice) -> str:
    prefix, length = d.choice(
        (("4539", 16), ("4", 16), ("5425", 16), ("2720", 16), ("3714", 15), ("6011", 16), ("3530", 16))
    )
    body = prefix + d.some(string.digits, length - 1 - len(prefix))
    return body + luhn_digit(body)


def grouped_card(d: Dice) -> str:
    number = card(d)
    mark = d.choice(" -")
    if len(number) == 15:
        return mark.join((number[:4], number[4:10], number[10:]))
    return mark.join(number[i : i + 4] for i in range(0, 16, 4))


def iban(d: Dice) -> str:
    country, shape = d.choice(
        (("DE", "n18"), ("NL", "a4n10"), ("GB", "a4n14"), ("FR", "n23"), ("AT", "n16"), ("CH", "n17"), ("ES", "n20"))
    )
    body = (
        d.some(string.ascii_uppercase, 4) + d.some(string.digits, int(shape[3:]))
        if shape[0] == "a"
        else d.some(string.digits, int(shape[1:]))
    )
    number = int("".join(str(int(c, 36)) for c in body + country + "00"))
    return f"{country}{98 - number % 97:02d}{body}"


def spaced_iban(d: Dice) -> str:
    number = iban(d)
    return " ".join(number[at : at + 4] for at in range(0, len(number), 4))


def address(d: Dice) -> str:
    local = d.choice(
        (
            f"{d.choice(WORDS)}.{d.choice(WORDS)}",
            f"{d.choice(WORDS)}{d.randrange(99)}",
            f"{d.choice(WORDS)}+{d.choice(WORDS)}",
            f"{d.choice(WORDS)}_{d.choice(WORDS)}",
        )
    )
    return f"{local}@{d.choice(WORDS)}{d.choice(('', '-gmbh', 'corp'))}.{d.choice(('de', 'com', 'co.uk', 'io', 'example.org', 'dev'))}"


TOKENS: dict[str, Callable[[Dice], str]] = {
    "aws id": lambda d: d.choice(("AKIA", "ASIA")) + d.some("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    "gcp key": lambda d: "AIza" + d.some(ALNUM + "-_", 35),
    "gcp client": lambda d: "GOCSPX-" + d.some(ALNUM + "-_", 28),
    "gcp access": lambda d: "ya29." + d.some(ALNUM + "-_", 120),
    "azure ad": lambda d: d.some(ALNUM, 3) + "8Q~" + d.some(ALNUM + "_~.-", 33) + "a",
    "do": lambda d: "dop_v1_" + d.hexa(64),
    "vault": lambda d: "hvs." + d.some(ALNUM + "-_", 95),
    "terraform": lambda d: d.some(ALNUM, 14) + ".atlasv1." + d.some(ALNUM, 67),
    "github": lambda d: d.choice(("ghp_", "gho_", "ghs_", "ghu_")) + d.some(ALNUM, 36),
    "github fine": lambda d: "github_pat_" + d.some(ALNUM, 22) + "_" + d.some(ALNUM, 59),
    "gitlab": lambda d: d.choice(("glpat-", "gldt-", "glrt-")) + d.some(ALNUM + "-_", 20),
    "bitbucket": lambda d: "ATBB" + d.some(ALNUM, 24) + d.some("0123456789ABCDEF", 8),
    "npm": lambda d: "npm_" + d.some(ALNUM, 34) + "9a",
    "pypi": lambda d: "pypi-AgEIcHlwaS5vcmc" + d.some(ALNUM + "-_", 150),
    "docker": lambda d: "dckr_pat_" + d.some(ALNUM + "-_", 27),
    "sentry": lambda d: "sntryu_" + d.hexa(64),
    "grafana": lambda d: "glsa_" + d.some(ALNUM, 32) + "_" + d.hexa(8),
    "newrelic": lambda d: "NRAK-" + d.some(string.ascii_uppercase + string.digits, 27),
    "slack": lambda d: f"xoxb-{d.some(string.digits, 12)}-{d.some(string.digits, 12)}-{d.some(ALNUM, 24)}",
    "slack hook": lambda d: (
        f"https://hooks.slack.com/services/T{d.some(string.ascii_uppercase, 9)}/B{d.some(string.ascii_uppercase, 9)}/{d.strong(24, 25)}"
    ),
    "telegram": lambda d: d.some("123456789", 10) + ":AA" + d.some(ALNUM + "-_", 33),
    "sendgrid": lambda d: "SG." + d.some(ALNUM + "-_", 22) + "." + d.some(ALNUM + "-_", 43),
    "mailgun": lambda d: "key-" + d.hexa(32),
    "stripe": lambda d: d.choice(("sk_live_", "sk_test_", "rk_live_")) + d.some(ALNUM, 24) + "7aB",
    "whsec": lambda d: "whsec_" + d.some(ALNUM + "+/", 32),
    "square": lambda d: "sq0atp-" + d.some(ALNUM + "-_", 22),
    "shopify": lambda d: "shpat_" + d.hexa(32),
    "notion": lambda d: "ntn_" + d.some(string.digits, 11) + d.some(ALNUM, 35),
    "hubspot": lambda d: "pat-eu1-" + d.uuid(),
    "openai": lambda d: "sk-proj-" + d.some(ALNUM + "-_", 74) + "T3BlbkFJ" + d.some(ALNUM + "-_", 74),
    "openai old": lambda d: "sk-" + d.some(ALNUM, 20) + "T3BlbkFJ" + d.some(ALNUM, 20),
    "anthropic": lambda d: "sk-ant-api03-" + d.some(ALNUM + "-_", 93) + "AA",
    "sk": lambda d: "sk-" + d.some(HEX, 31) + "7",
    "hf": lambda d: "hf_" + d.some(string.ascii_letters, 32) + "aB",
    "groq": lambda d: "gsk_" + d.some(ALNUM, 50) + "7a",
    "xai": lambda d: "xai-" + d.some(ALNUM, 80),
    "replicate": lambda d: "r8_" + d.some(ALNUM, 35) + "7a",
    "databricks": lambda d: "dapi" + d.hexa(32),
    "age": lambda d: "AGE-SECRET-KEY-1" + d.some("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58),
    "heroku": lambda d: "HRKU-AA" + d.some(ALNUM + "-_", 58),
    "supabase": lambda d: "sbp_" + d.hexa(40),
    "planetscale": lambda d: "pscale_tkn_" + d.some(ALNUM + "-_", 43),
    "doppler": lambda d: "dp.pt." + d.some(ALNUM, 43),
    "linear": lambda d: "lin_api_" + d.some(ALNUM, 40),
    "postman": lambda d: "PMAK-" + d.hexa(24) + "-" + d.hexa(34),
    "figma": lambda d: "figd_" + d.some(ALNUM + "-_", 40),
    "dynatrace": lambda d: (
        "dt0c01." + d.some(string.ascii_uppercase + "234567", 24) + "." + d.some(string.ascii_uppercase + "234567", 64)
    ),
    "twilio": lambda d: "SK" + d.hexa(32),
    "jwt": jwt,
    "bcrypt": lambda d: "$2b$12$" + d.some(ALNUM + "./", 53),
    "argon2": lambda d: "$argon2id$v=19$m=65536,t=3,p=4$" + d.some(ALNUM + "+/", 22) + "$" + d.some(ALNUM + "+/", 43),
    "django": lambda d: "pbkdf2_sha256$870000$" + d.some(ALNUM, 22) + "$" + d.some(ALNUM + "+/", 43) + "=",
    "discord": lambda d: (
        b64(d.some("123456789", 18)).rstrip("=") + "." + d.some(ALNUM, 6) + "." + d.some(ALNUM + "-_", 38)
    ),
    "mapbox": lambda d: "sk.eyJ" + d.some(ALNUM, 80) + "." + d.some(ALNUM, 22),
    "swarm": lambda d: (
        f"SWMTKN-1-{d.some(string.ascii_lowercase + string.digits, 50)}-{d.some(string.ascii_lowercase + string.digits, 25)}"
    ),
    "tailscale": lambda d: f"tskey-auth-{d.some(ALNUM, 12)}CNTRL-{d.some(ALNUM, 32)}",
    "openshift": lambda d: "sha256~" + d.some(ALNUM + "-_", 43),
    "atlassian": lambda d: "ATATT3xFfGF0" + d.some(ALNUM + "-_", 170) + "=" + d.some("0123456789ABCDEF", 8),
    "pinecone": lambda d: "pcsk_" + d.some(ALNUM, 6) + "_" + d.some(ALNUM, 63),
    "langsmith": lambda d: f"lsv2_pt_{d.hexa(32)}_{d.hexa(10)}",
    "airtable": lambda d: "pat" + d.some(ALNUM, 14) + "." + d.hexa(64),
    "url": lambda d: (
        f"{d.choice(('postgresql', 'mysql', 'redis', 'amqp', 'mongodb+srv', 'postgresql+asyncpg', 'https', 'smtp', 'ftp'))}://{d.choice(('app', 'root', 'svc_user'))}:{quote(d.password(), safe='')}@db-{d.randrange(9)}.internal:5432/app"
    ),
}
PERSONAL: dict[str, Callable[[Dice], str]] = {
    "email": address, "card": card, "grouped card": grouped_card, "iban": iban,
    "iban spaced": spaced_iban,
    "ssn": lambda d: f"{d.randrange(100, 600):03d}-{d.randrange(10, 99)}-{d.randrange(1000, 9999)}",
}  # fmt: skip


def core_of(kind: str, token: str) -> str:
    """The part of a token that has to go."""
    if kind == "slack hook":
        return token.rpartition("/")[2]
    if kind == "url":
        return token.partition("://")[2].partition(":")[2].rpartition("@")[0]
    if kind in ("card", "grouped card", "iban", "iban spaced", "aws id"):
        return token[:-4].rstrip(" -")
    return token


def greenstack(d: Dice, message: str, **more: object) -> str:
    entry: dict[str, object] = {
        "timestamp": round(1763461800 + d.random() * 10**6, 6), "level": d.choice(("INFO", "WARNING", "ERROR", "DEBUG")), "message": message,
        "logger": d.choice(("src.api.auth", "src.routes.iodd_routes", "uvicorn.error", "sqlalchemy.engine.Engine")),
        "function": d.choice(("login", "upload", "handle")), "line": d.randrange(900), "app": "greenstack", "version": "2.0.1", "environment": "production",
        "request_id": d.uuid(),
    }  # fmt: skip
    entry.update(more)
    items = list(entry.items())
    if d.random() < 0.3:
        d.shuffle(items)
    return json.dumps(dict(items), ensure_ascii=d.random() < 0.7, separators=d.choice(((", ", ": "), (",", ":"))))


def text_line(d: Dice, message: str) -> str:
    flat = message.replace("\r", "").replace("\n", " ")
    return d.choice(
        (
            f"2026-03-04 05:06:0{d.randrange(9)},{d.randrange(999):03d} INFO [app.auth] {flat}",
            f"INFO:     {flat}",
            f"[2026-03-04T05:06:07Z] {flat}",
            flat,
            f"Mar  4 05:06:07 host app[{d.randrange(9999)}]: {flat}",
            f'time=2026-03-04T05:06:07Z level=info msg="{flat}"' if '"' not in flat and "\\" not in flat else flat,
        )
    )


def line(d: Dice, message: str) -> str:
    return greenstack(d, message) if d.random() < 0.75 else text_line(d, message)
