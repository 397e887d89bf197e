"""Lines with secrets in every context and encoding, and hard lines without any; all made from formats and dice."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from urllib.parse import quote

from agent.transform.redaction import samples
from agent.transform.redaction.catalogue import RULES
from agent.transform.redaction.rule import Rule

Context = Callable[[str, random.Random], str]


def record(dice: random.Random, **more: object) -> str:
    entry: dict[str, object] = {
        "timestamp": 1763461800 + dice.randrange(10**6) / 1000,
        "level": dice.choice(("INFO", "ERROR")),
        "message": "request handled",
        "logger": "src.routes.iodd_routes",
        "line": dice.randrange(900),
        "request_id": samples.uuid(dice),
    }
    entry.update(more)
    return json.dumps(entry)


def bare(secret: str, dice: random.Random) -> str:
    return record(dice, message=f"got {secret} from upstream")


def at_the_end(secret: str, dice: random.Random) -> str:
    return record(dice, message=f"got {secret}")


def neutral_key(secret: str, dice: random.Random) -> str:
    return record(dice, note=secret)


def nested(secret: str, dice: random.Random) -> str:
    return record(dice, a={"b": [{"note": secret}]})


def json_in_json(secret: str, dice: random.Random) -> str:
    return record(dice, body=json.dumps({"data": {"note": secret}}))


def json_in_json_in_json(secret: str, dice: random.Random) -> str:
    return record(dice, body="body: " + json.dumps({"inner": json.dumps({"note": secret})}))


def plain_text(secret: str, dice: random.Random) -> str:
    return f"2026-01-02 03:04:05,678 INFO app: got {secret} from upstream"


def key_value_text(secret: str, dice: random.Random) -> str:
    return f"level=info note={secret} n=3"


def header(secret: str, dice: random.Random) -> str:
    return record(dice, headers={"X-Note": secret})


def python_dict(secret: str, dice: random.Random) -> str:
    return record(dice, message=f"payload {{'note': '{secret}', 'n': 1}}")


def multi_line(secret: str, dice: random.Random) -> str:
    return record(
        dice, exc_info=f'Traceback (most recent call last):\n  File "a.py", line 3, in f\nValueError: {secret}'
    )


def torn(secret: str, dice: random.Random) -> str:
    return record(dice, note=secret)[:-2]


def unicode_escaped(secret: str, dice: random.Random) -> str:
    line = record(dice, note="@@")
    return line.replace("@@", "".join(f"\\u{ord(c):04x}" for c in secret))


def percent_encoded(secret: str, dice: random.Random) -> str:
    return record(dice, url=f"https://a.example/p?note={''.join(f'%{b:02X}' for b in secret.encode())}&n=1")


def query_string(secret: str, dice: random.Random) -> str:
    return record(dice, url=f"https://a.example/p?note={quote(secret, safe='')}&n=1")


def base64_wrapped(secret: str, dice: random.Random) -> str:
    text = samples.from_class("a", dice.randrange(1, 9), dice) + " " + secret + " end"
    return record(dice, data=base64.b64encode(text.encode()).decode())


TOKEN_CONTEXTS: tuple[Context, ...] = (
    bare,
    at_the_end,
    neutral_key,
    nested,
    json_in_json,
    json_in_json_in_json,
    plain_text,
    key_value_text,
    header,
    python_dict,
    multi_line,
    torn,
    unicode_escaped,
    percent_encoded,
    query_string,
)
TEXT_CONTEXTS: tuple[Context, ...] = (
    bare,
    at_the_end,
    neutral_key,
    nested,
    json_in_json,
    plain_text,
    multi_line,
    unicode_escaped,
)

NAMES = [
    "password",
    "db_password",
    "newPassword",
    "smtp_pass",
    "PGPASSWORD",
    "api_key",
    "X-Api-Key",
    "client_secret",
    "app_secret",
    "access_token",
    "refreshToken",
    "private_key",
    "aws_secret_access_key",
    "passphrase",
    "jwt_secret",
    "secretKey",
    "HF_TOKEN_2",
    "GITHUB_TOKEN",
    "encryption_key",
    "signing_secret",
]


def named_lines(dice: random.Random) -> Iterator[tuple[str, str]]:
    """A random value beside a sensitive name, in all the spellings of name and value."""
    for name in NAMES:
        secret = "K" + samples.from_class("pw", dice.randrange(10, 24), dice) + "9"
        safe = samples.from_class("b62", dice.randrange(12, 24), dice)
        yield json.dumps({"n": 1, name: secret}), secret
        yield json.dumps({"a": {"b": [{name: secret}]}}), secret
        yield json.dumps({"body": json.dumps({name: secret})}), secret
        yield json.dumps({"body": json.dumps({"x": json.dumps({name: secret})})}), secret
        yield json.dumps({"body": "body: " + json.dumps({name: secret})})[:-4], secret
        yield json.dumps({"message": f"{name}={safe} next"}), safe
        yield json.dumps({"message": f"{name}: {safe}"}), safe
        yield json.dumps({"message": f"{{'{name}': '{secret}', 'n': 1}}"}), secret
        yield json.dumps({"message": f'{name}="{secret}"'}), secret
        yield json.dumps({"message": f"{name} => '{secret}'"}), secret
        yield json.dumps({"message": f"tool --{name} {safe} -v"}), safe
        yield json.dumps({"message": f"<{name}>{safe}</{name}>"}), safe
        yield json.dumps({"message": f"\x1b[1m{name}\x1b[0m=\x1b[31m{safe}\x1b[0m"}), safe
        yield json.dumps({"url": f"https://a.example/p?a=1&{name}={quote(safe)}&b=2"}), safe
        yield json.dumps({"url": f"/login?next=%2Fp%3F{name}%3D{safe}%26b%3D2"}), safe
        yield json.dumps({"headers": [[name, secret]]}), secret
        yield json.dumps({"env": [{"name": name, "value": secret}]}), secret
        yield json.dumps({"message": f"[(b'{name}', b'{safe}')]"}), safe
        yield f"{name}={safe} next", safe
        yield f"x;{name}={safe};y=1", safe
        yield f'export {name}="{secret}"', secret
        yield "".join(f"\\u{ord(c):04x}" for c in name).join(('{"', f'": "{secret}"}}')), secret


def sample_lines(dice: random.Random, rules: tuple[Rule, ...] = RULES) -> Iterator[tuple[str, str, str, list[str]]]:
    """Rule, context, line, secrets: every sample in every context that leaves its meaning."""
    for rule in (rule for rule in rules if rule.default and not rule.given and not rule.by_chunk):
        for template in rule.must:
            text, secrets = samples.split_marks(samples.expand(template, dice))
            token = "«" not in template and rule.preset == "secrets"
            for context in TOKEN_CONTEXTS if token else TEXT_CONTEXTS:
                if context is unicode_escaped and "\\" in text:
                    continue
                yield rule.id, context.__name__, context(text, dice), secrets
            if token and rule.anchors:
                wrapped = base64_wrapped(text, dice)
                yield rule.id, "base64", wrapped, [json.loads(wrapped)["data"]]


BENIGN_MESSAGES: tuple[str, ...] = (
    "commit {hexl:40} deployed by ci",
    "trace {hexl:32} span {hexl:16}",
    "took 3 ms dd.trace_id=4{d:18} dd.span_id={d:19}",
    'etag "{hexl:32}" sha256:{hexl:64}',
    "request {=uuid} took 12.5 ms",
    "image data:image/png;base64,iVBORw0KGgo{b64:400}==",
    "vendor 0x{hexl:4} device 0x{hexl:6} TI_Password_Text V_DeviceAccessLocks V_Password",
    "upgraded react@18.2 to react@19.0.1, icon@2x.png, user@host",
    "cloned git@github.com:org/repo.git at v1.2.3",
    "token_count=512 max_tokens=4096 prompt_tokens=17 tokens_used=9",
    "password is too short",
    "password is required",
    "Password: required",
    "the token is expired",
    "invalid token",
    "bearer token missing",
    "bearer of bad news",
    "basic auth disabled",
    "authorization required",
    "Basic authentication required",
    "Credentials: 3 configured",
    "credentials: updated for bob",
    "login at 12:30:45 from 10.0.0.1:5432",
    "session size=10 sessions_active=4",
    "cookies enabled",
    "secret_name=db-main secret_version=3",
    "npm_config_cache=/home/u/.npm npm_lifecycle_event=test",
    "hf_hub_download finished",
    "re_compile took 3 ms",
    "risk-assessment desk-sharing task-force",
    "napi_create_external_arraybuffer called",
    "sk-circle sk-fading-circle",
    "hvs.name is not defined",
    "SKU-12345 SK1000",
    'GET /api/v1/devices?page=2&sort_key=name&code=404 HTTP/1.1" 200 5123',
    "GET /oauth/authorize?response_type=code&client_id=web&scope=openid HTTP/1.1",
    "POST /auth/token HTTP/1.1 401",
    "https://example.com/@user/post/{d:12}",
    'File "/app/src/auth.py", line 45, in login\n    user = authenticate(password=password, token=token)',
    "def connect(password: str = None, token: Optional[str] = None) -> Session:",
    "self.password = settings.password",
    'os.environ["DB_PASSWORD"] missing',
    "api_key = os.getenv('API_KEY')",
    "SELECT password FROM users WHERE id = $1",
    "password = :password AND token = %s",
    "password=${DB_PASSWORD} token={{ token }}",
    "postgresql://app:***@db:5432/x",
    "amqp://guest@mq:5672//",
    "http://127.0.0.1:8000/health",
    "redis://cache:6379/0",
    "epoch 1763461800000 1763461800000294 1763461800000294123",
    "float 4111.1111111111111111",
    "order 2024-01-15-0001 part 123-456-7890",
    "version 1.2.3-rc.4+build.{d:8}",
    "key usage: digitalSignature",
    "public key loaded",
    "-----BEGIN CERTIFICATE-----\n{b64:64}\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\n{b64:64}\n-----END PUBLIC KEY-----",
    "PRIVATE KEY not found",
    "keyboard layout de",
    "author: Bob",
    "authority=https",
    "pass: 12, fail: 3",
    "compass: north",
    "passenger: 4",
    "bypass: true",
    "monkey: patched",
    "hotkey: ctrl+s",
    "otp required",
    "mfa enabled=true",
    "pin_mode=out",
    "cvv: null",
    "iban: null",
    "ssn required",
    "eyJ is how JSON begins",
    "AKIA prefix is documented",
    "sha1 {hexl:40} md5 {hexl:32}",
    "uuid {=uuid} {=uuid}",
    "mac 00:1b:44:11:3a:b7 ipv6 fe80::1",
    "%5Bfilter%5D=name%20asc",
    "100% done, 50%d formatted",
    "path C:\\Users\\bob\\token.txt",
    "token file /run/secrets/token",
    "--password-stdin given",
    "password_changed_at=2026-01-01T00:00:00Z token_expires_in=3600",
    "access_token_ttl: 300",
    "grant_type=password&client_id=web",
    "id={b62:22} ref={b36:26}",
    "blob {b64:64}",
    "object key V_Temperature changed from 12 to 13",
    "secrets rotated: 4",
    "imagePullSecrets: []",
    "connect.sid is not set",
    "csrf check failed",
    "XSRF cookie missing",
    "Set-Cookie header was empty",
    "Cookie: none",
    "Authorization: none",
    "Authorization: required",
    "X-Request-Id: {=uuid}",
    "X-Trace: {hexl:32}",
    "traceparent: 00-{hexl:32}-{hexl:16}-01",
)
BENIGN_FIELDS: tuple[tuple[str, object], ...] = (
    ("author", "bob"),
    ("auth_method", "oauth2"),
    ("token_type", "bearer"),
    ("token_count", 512),
    ("max_tokens", 4096),
    ("key", "V_Temperature"),
    ("primary_key", "a1b2c3d4e5f6"),
    ("public_key", "abcdef0123456789abcdef"),
    ("password", None),
    ("password", ""),
    ("password", "***"),
    ("password", "[REDACTED]"),
    ("has_password", True),
    ("password_set", True),
    ("secret_name", "db-main"),
    ("secretRef", "vault:db"),
    ("token", 5),
    ("private_key_id", "0123456789abcdef0123456789abcdef01234567"),
    ("fingerprint", "ab:cd:ef:01"),
    ("etag", 'W/"abc"'),
    ("PWD", "/app"),
    ("V_Password", 12345),
    ("imagePullSecrets", ["registry"]),
    ("stop_token_ids", [1, 2, 3]),
    ("tokens", ["a", "b"]),
    ("keys", ["a", "b"]),
    ("session_id", "7"),
    ("cookies_enabled", True),
    ("authorization", None),
    ("cookie", ""),
    ("password_policy", {"min": 8}),
    ("credentials_count", 2),
    ("passwordPolicy", "strict-12"),
)


def benign_lines(dice: random.Random, count: int) -> Iterator[str]:
    for number in range(count):
        shape = number % 4
        message = samples.expand(dice.choice(BENIGN_MESSAGES), dice)
        if shape == 0:
            address = f"10.0.{dice.randrange(255)}.{dice.randrange(255)}"
            yield record(dice, message=message, duration_ms=round(dice.random() * 100, 3), client_ip=address)
        elif shape == 1:
            yield record(dice, message=message, **dict(dice.sample(BENIGN_FIELDS, 3)))
        elif shape == 2:
            text = message.replace("\n", " ")
            yield f"2026-01-02 03:04:{dice.randrange(60):02d},123 INFO app.{dice.choice(('auth', 'db'))}: {text}"
        else:
            body = json.dumps({"message": message, **dict(dice.sample(BENIGN_FIELDS, 2))})
            yield record(dice, body=body, exc_info=message)
