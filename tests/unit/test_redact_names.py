"""Key names, their values, and the words that only look like them."""

from __future__ import annotations

import base64
import json

import pytest

from agent.transform.redaction import names
from agent.transform.redaction.names import QUALIFIERS, Names, split_words
from agent.transform.redaction.values import bare, quoted

SENSITIVE = [
    "password",
    "Password",
    "PASSWORD",
    "db_password",
    "DB_PASSWORD",
    "dbPassword",
    "db.password",
    "user-password",
    "newPassword",
    "passwordConfirm",
    "confirm_password",
    "smtp_pass",
    "PGPASSWORD",
    "MYSQL_PWD",
    "X-Api-Key",
    "x_api_key",
    "apiKey",
    "apikey",
    "API_KEY",
    "vendor_apikey",
    "clientSecret",
    "ClientSecret",
    "client_secret",
    "app_secret",
    "secretKey",
    "SECRET_KEY",
    "jwt_secret",
    "access_token",
    "accessToken",
    "refreshToken",
    "authToken",
    "id_token",
    "GITHUB_TOKEN",
    "HF_TOKEN_2",
    "PRIVATE-TOKEN",
    "private_key",
    "privateKey",
    "aws_secret_access_key",
    "SecretAccessKey",
    "aws_session_token",
    "Authorization",
    "Cookie",
    "set-cookie",
    "sessionid",
    "session_id",
    "JSESSIONID",
    "csrfmiddlewaretoken",
    "passphrase",
    "credential",
    "credentials",
    "password_hash",
    "hashed_password",
    "card_number",
    "iban",
    "ssn",
    "otp",
    "connection_string",
]
HARMLESS = [
    "author",
    "authored_at",
    "authority",
    "authenticated",
    "auth_method",
    "auth_type",
    "token_type",
    "grant_type",
    "tokens",
    "tokens_used",
    "max_tokens",
    "prompt_tokens",
    "token_count",
    "tokenizer",
    "stop_token_ids",
    "access_token_ttl",
    "token_expires_in",
    "token_id",
    "key",
    "keys",
    "key_id",
    "key_name",
    "key_count",
    "key_usage",
    "primary_key",
    "foreign_key",
    "sort_key",
    "partition_key",
    "public_key",
    "hotkey",
    "keyboard_layout",
    "keyCode",
    "keyword",
    "monkey",
    "parameter_count",
    "password_changed_at",
    "password_set",
    "has_password",
    "passwordPolicy",
    "password_length",
    "password_expires_in_days",
    "passed",
    "passenger",
    "compass",
    "bypass",
    "secretary",
    "secret_name",
    "secretRef",
    "secret_version",
    "secrets_rotated",
    "imagePullSecrets",
    "credentials_count",
    "sessions_active",
    "cookies_enabled",
    "pin_mode",
    "certificate",
    "fingerprint",
    "checksum",
    "commit",
    "etag",
    "private_key_id",
    "PWD",
    "SECRETS_DIR",
    "accessRights",
    "V_Password",
    "TI_Password_Text",
    "V_DeviceAccessLocks",
]
VALUE = "c2VjcmV0IHZhbHVl9x7Q"


def spellings(name: str, value: object) -> list[str]:
    return [
        json.dumps({"n": 1, name: value}),
        json.dumps({"body": json.dumps({name: value})}),
        f"{name}={value} next",
        f"{name}: {value}",
        f"x '{name}': '{value}' y",
        f'{name}="{value}"',
        f"/p?a=1&{name}={value}&b=2",
    ]


@pytest.mark.parametrize("name", SENSITIVE)
def test_a_sensitive_name_hides_its_value_in_every_spelling(redactor, name):
    value = "Server=x;Pwd=Hx7aaaaa91;" if name == "connection_string" else VALUE
    secret = "Hx7aaaaa91" if name == "connection_string" else VALUE
    for line in spellings(name, value):
        assert secret not in redactor.line(line.encode())[0].decode(), line


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_name_leaves_its_value(redactor, name):
    assert Names().verdict(name) is None
    for value in ("abcdefghijk12345678", 5, "none"):
        for line in spellings(name, value):
            assert redactor.line(line.encode())[0].decode() == line


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("X-Api-Key", ["api", "key"]),
        ("clientSecret", ["client", "secret"]),
        ("db.password", ["db", "password"]),
        ("APIKey", ["api", "key"]),
        ("HF_TOKEN_2", ["hf", "token"]),
        ("user[password]", ["user", "password"]),
        ("p%61ssword", ["password"]),
        ("x", ["x"]),
        ("12", []),
    ],
)
def test_names_split_into_words(name, words):
    assert split_words(name) == words


@pytest.mark.parametrize(
    "value",
    [
        "",
        "***",
        "•••",
        "xxxx",
        "None",
        "null",
        "undefined",
        "[REDACTED]",
        "<REDACTED>",
        "[Filtered]",
        "${PW}",
        "$PW",
        "{{ pw }}",
        "%s",
        "%(pw)s",
        "<password>",
        ":pw",
        "?",
        "$1",
        "{password}",
        "on",
        "off",
        "${{ secrets.PW }}",
    ],
)
def test_what_is_no_value_stays(redactor, value):
    for line in (json.dumps({"password": value}), f"password={value}", f"password: '{value}'"):
        assert redactor.line(line.encode())[0].decode() == line


def ways_to_write(head: str) -> set[str]:
    words = head.split("+")
    found = {"_".join(words), "-".join(words), "_".join(words).upper(), "my_" + "_".join(words), "_".join(words) + "2"}
    found |= {"".join(w.capitalize() for w in words), words[0] + "".join(w.capitalize() for w in words[1:])}
    if len("".join(words)) > 5:
        found.add("".join(words))
    if words[-1] not in QUALIFIERS | {"hash", "digest", "value", "pem"}:
        found |= {"_".join(words) + "_prod", "_".join(words).upper() + "_STAGING"}
    return found - {"PWD"}


VALUE_OF_KIND = {
    "pin": "4821",
    "cookie": "sid=a8Kx92LmQp0Zr4Tt",
    "dsn": "postgres://u:Ab3xQ9zz@h/x",
    "authorization": "Bearer a8Kx92LmQp0Zr4Tt7",
    "digits": "4929123456789014",
    "card": "6200171064615077",
    "uuid": "550e8400-e29b-41d4-a716-446655440000",
}
# Of these, the words stand too often in tuples and texts.
NOT_EVERYWHERE = ("auth", "bearer", "assertion", "fa+code", "pkcs")


@pytest.mark.parametrize(("kind", "heads"), [(kind, heads) for _, kind, heads in names._HEADS])
def test_the_finder_knows_each_name_the_verifier_knows(redactor, kind, heads):
    value = VALUE_OF_KIND.get(kind, "a8Kx92LmQp0Zr4Tt7Y")
    lines = [
        line
        for head in heads.split()
        if head not in NOT_EVERYWHERE
        for name in ways_to_write(head)
        for line in (
            json.dumps({name: value}),
            json.dumps({name: value}, ensure_ascii=False),
            f"x {name}={value} y",
            f"x {name}: '{value}'",
            f"('{name}', '{value}')",
            f"<{name}>{value}</{name}>",
            f"--{name} '{value}'",
        )
    ]
    assert [line for line in lines if redactor.line(line.encode())[0].decode() == line] == []


@pytest.mark.parametrize(
    "name", ["next_page_token", "nexttoken", "eosToken", "password_length_prod", "public_key_data"]
)
def test_a_word_in_front_or_behind_may_make_a_name_harmless(name):
    assert Names().verdict(name) is None


@pytest.mark.parametrize(
    "line",
    [
        "password: required",
        "password=password, token=token",
        "token: str = None",
        "secret=settings.secret",
        "self.token = self.get_token(user)",
        'api_key = os.environ["API_KEY"]',
        "pwd: /var/lib/app",
        "session_id=abc",
        "token: 512",
        "INFO app.auth: user 550e8400-e29b-41d4-a716-446655440000 is in",
        '{"token": "2026-01-02T03:04:05Z"}',
        '{"pwd": "/app/src"}',
        '{"pass": "12"}',
        "feature flags: password_login=off, api_keys=on",
        r'{"m": "feature flags: api_key\u0073\u003don"}',
        "https://h.example/reset-password?token=&lang=de",
        "https://h.example/reset-password?lang=de&amp;token=&amp;next=welcome",
        "https://h.example/reset-password?token=#welcome-back",
        r'{"m": "https://h.example/reset-password?to\u006ben=\u0026lang=de"}',
        "secret=${{secrets.TOKEN}}",
        "Authorization: Bearer ${{ secrets.TOKEN }}",
        "tool --password ${{ secrets.TOKEN }} --verbose",
        "curl -u bob:${{ secrets.TOKEN }} https://h.example",
        "INFO:src.db.session:phone=0123456789012345",
        "WARNING:src.services.auth:contraseña no válida",
        "ERROR:src.services.auth:public_key: loaded 3 entries",
        "INFO:app.token:user_logged_in:42 rows",
        "\x1b[32mINFO\x1b[0m:app.token:user_logged_in:42 rows, no password",
        "2026-01-02 03:04:05.678 | ERROR    | src.auth:login_user:75 - no password",
    ],
)
def test_code_and_prose_stay(redactor, line):
    assert redactor.line(line.encode())[0].decode() == line


@pytest.mark.parametrize(
    ("line", "gone"),
    [
        ("password=hunter2;x=1", "hunter2"),
        ("password=hunter2,user=bob", "hunter2"),
        ("f(password=hunter2)", "hunter2"),
        ("GET /x?token=&password=hunter2", "hunter2"),
        ("password=&hunter2", "&hunter2"),
        ("ERROR:src.auth:password=hunter2x", "hunter2x"),
        ("ERROR:src.auth:cfg.password='hunter2x'", "hunter2x"),
        ("ERROR:auth:password='hunter2x'", "hunter2x"),
        ("INFO | db.password:hunter2x", "hunter2x"),
        ("| ERROR    | src.auth:login:75 - password=hunter2x", "hunter2x"),
        ("password=correct,horse", "correct,horse"),
        ("Pwd={ab;cd9};x", "ab;cd9"),
        ('password="a\\"b c"', 'a\\"b c'),
        ("password='never closed", "never closed"),
        ('{\\"password\\": \\"a1 b2\\", \\"x', "a1 b2"),
        ("api key: abcdefgh12345678", "abcdefgh12345678"),
        ("social security number: 123456789", "123456789"),
        ("password=trustno1", "trustno1"),
        ("password=nullable7", "nullable7"),
        (r'{"m": "# dotenv\nsid=\"2ZSCnnbvQ1w2e3r4\"\n"}', "2ZSCnnbvQ1w2e3r4"),
        (r'{"m": "# dotenv\npin=4711\n"}', "4711"),
        (r"x\tpat=2ZSCnnbvQ1w2e3r4 y", "2ZSCnnbvQ1w2e3r4"),
        ("verificationCode：569875", "569875"),
        (r'{"m": "mfa_code\uff1a374886"}', "374886"),
        ("nt_hash：0123456789abcdef0123456789abcdef", "0123456789abcdef"),
        ("wifi_key＝Q1w2e3r4t5y6u7i8", "Q1w2e3r4"),
        ("psk：Q1w2e3r4t5y6", "Q1w2e3r4"),
        ("tool --recovery-code e44f-e663-42fb --verbose", "e44f-e663"),
    ],
)
def test_values_end_where_they_end(redactor, line, gone):
    out = redactor.line(line.encode())[0].decode()
    assert gone not in out
    assert "REDACTED" in out


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ('"a"', "a"),
        ('\\"a\\"b', "a"),
        ('"a\\"b"', 'a\\"b'),
        ("b'a'", "a"),
        ('"a', "a"),
        ('\\"a\\\\\\"b\\"', 'a\\\\\\"b'),
    ],
)
def test_quotes_close_at_their_own_depth(text, inside):
    value = quoted(text, 0)
    assert value is not None
    assert text[value.start : value.end] == inside


def test_there_is_no_bare_value_at_a_space():
    assert bare(" x", 0) is None


@pytest.mark.parametrize(
    "line",
    [
        'input("Password: ", stream)',
        "Requires-Dist: azure-keyvault-secrets>=4.8.0",
        "To be sure, pass `override=True` to it",
        'r.headers["Authorization"] = self.build_digest_header(r.method',
        "identity_token=token row=row",
        'if token == "integer"',
        'creds = f"{login}:{password}"',
        ":param cookies: (optional) Dict",
    ],
)
def test_code_and_its_documentation_stay(redactor, line):
    assert redactor.line(line.encode()) == (line.encode(), [])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_secret_number_leaves_json_in_json_valid(redactor, depth):
    inner: object = {"card": 4929123456789014, "cvc": 123, "n": 1}
    for _ in range(depth):
        inner = {"body": json.dumps(inner)}
    out: object = json.loads(redactor.line(json.dumps(inner).encode())[0])
    for _ in range(depth):
        assert isinstance(out, dict)
        out = json.loads(out["body"])
    assert isinstance(out, dict)
    assert out["n"] == 1
    assert "REDACTED" in out["cvc"]


@pytest.mark.parametrize(
    ("name", "sensitive"),
    [
        ("fs.azure.account.key.acme.dfs.core.windows.net", True),
        ("fs.azure.account.auth.type.acme.dfs.core.windows.net", False),
        ("account.key.provider", False),
        ("storepass", True),
        ("sslpassword", True),
        ("bypass", False),
    ],
)
def test_a_host_behind_a_name_says_whose_it_is(name, sensitive):
    assert (Names().verdict(name) is not None) is sensitive


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        (b"DD_APP_KEY=550e8400-e29b-41d4-a716-446655440000", True),
        (b'{"heroku_key": "550e8400-e29b-41d4-a716-446655440000"}', True),
        (b'{"partner_key": "550e8400-e29b-41d4-a716-446655440000"}', False),
        (b"VAULT_TOKEN=s.HeXrLOrjjKWPsednQIIUFJFl", True),
        (b"token = s.get_default_token_of_this_session", False),
        (b"\x1b[1msamlResponse\x1b[0m=\x1b[33mq0hEKaeOVKBBHGJJFq3TVDtItX7\x1b[0m", True),
        (b"NRII-XH-lL9b2Ya_VgeFhp3PBpNBtVBIIXIW4", True),
        (base64.b64encode("Übergabe: Zahlung an max@example.com heute".encode()), True),
    ],
)
def test_values_that_depend_on_whose_name_they_have(redactor, line, changed):
    assert (redactor.line(line)[0] != line) is changed


@pytest.mark.parametrize(
    "line",
    [
        b'{"mation: x": "y", "token": "\xcdc123def", "n \'b\')]\\": 1"',
        b'{""mage": "password=hur2", "tokbcdefgh1 p\\n": "abc123def", "n": 1}',
    ],
)
def test_the_rule_in_a_mark_is_no_name(redactor, line):
    once = redactor.line(line)[0]
    assert once != line
    assert redactor.line(once)[0] == once
