"""Hard lines without any secret, written without a look at the rules."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator

from practice_values import ALNUM, Dice, greenstack, line, luhn_digit

PHRASES: tuple[str, ...] = (
    # identifiers and digests
    "request {uuid} done", "commit {h40} by ci", "merge {h40} into {h40}", "sha256:{h64}", "image registry.example/app@sha256:{h64}", "md5={h32}", 'etag: "{h32}"', 'W/"{h16}-{h8}"', "traceparent: 00-{h32}-{h16}-01",
    "trace_id={h32} span_id={h16}", "b3: {h32}-{h16}-1", "x-amzn-trace-id: Root=1-{h8}-{h24}", "x-request-id: {uuid}", "correlation id {uuid}", "device 0x{h8} register 0x{h4}", "blake2b {h128}", "crc32 {h8}", "integrity sha512-{b86}==",
    "git describe v2.3.1-14-g{h8}", "object id {h24}", "ulid 01ARZ3NDEKTSV4RRFFQ69G5FAV", "ksuid {b27}", "nanoid {b21}", "build id {h40}", "docker run {h64}", "container {h12} started", "pod greenstack-api-7c9f8d6b5-x2k4q ready", "node ip-10-0-{n}-{n}.eu-central-1.compute.internal",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA{b300}==", "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQ{b300}", "font d09GMgABAAAAA{b200}", "thumbnail {b400}==", "gzip H4sIAAAAAAAAA{b200}=", "-----BEGIN CERTIFICATE-----\nMIID{b60}\n{b64}\n-----END CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----\n{b64}\n-----END PUBLIC KEY-----",
    "ssh-rsa AAAAB3NzaC1yc2E{b300} bob@host", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{b43}", "SHA256:{b43} bob@host (ED25519)", "fingerprint ab:{c2}:{c2}:{c2}:{c2}:{c2}", "serial 4{d30}", "key id {h40}", "kid={h16}",
    # numbers
    "epoch {e10} {e13} {e16} {e19}", "at {e10}.{d6}", "value 0.{d16}", "ratio {d3}.{d17}", "elapsed {d4}.{d3} ms", "order 4{d14}", "order {notluhn}", "order no. {luhn14}", "tracking 1Z{A2}{d16}", "ISBN 978-3-16-148410-0", "EAN 4006381333931", "part 123-456-7890", "article 6ES7 131-6BH01-0BA0",
    "phone ext 1234", "zip 12345-6789", "2026-01-02T03:04:05.678901+00:00", "2026-01-02 03:04:05,678", "date 2026-11-05", "20260102030405", "range 1000-2000", "ip {ip}:5432 -> {ip}:443", "mac 00:1b:44:11:3a:b7", "fe80::1ff:fe23:4567:890a", "::1", "lat 52.520008, lon 13.404954", "version 1.2.3-rc.4+build.{d8}", "v10.2.1", "Python 3.11.9 | numpy 1.26.4",
    "port 5432 opened", "status=200 bytes=5123", "progress 45%", "took 1h23m45s", "size 12.4MiB", "0x{h16}", "pid 12345 tid 140{d12}", "at 0x7f{h10}", "<Task pending name='Task-12' coro=<f() running at /app/x.py:12>>", "<object at 0x7f{h10}>", "counter 00000000000000000000", "bits 0101010101010101010101010101",
    "IODD vendor 0x0{h3} device 0x{h6} revision 1.1", "TI_Password_Text", "V_DeviceAccessLocks=0", "V_Password written", "vendorId=310 deviceId=1052675 ProductID=O5D100", "Balluff-BNI_IOL-302-000-Z046-20230412-IODD1.1.xml", "parameter V_Temperature index 40 subindex 1", "MenuItem M_OR_Param key=V_Setpoint", "StdVariableRef id=V_VendorName", "process data 0x{h8}",
    # words around secrets, without any
    "password is too short", "password must be at least 12 characters", "Password must contain 1 digit and 1 symbol", "password policy: min 12 chars, 1 upper, 1 digit", "password expired 3 days ago", "password changed for user bob", "password reset requested by bob", "password reset e-mail sent", "password reset for user 4711", "invalid password for user bob",
    "wrong password", "Password: required", "Password: ", "password:", "Enter password:", "password for bob is invalid", "password is required", "password was changed 2 days ago", "password is expired", "password is not set", "password was reset by admin", 'password authentication failed for user "bob"', 'FATAL:  password authentication failed for user "greenstack"', "password hash algorithm: argon2id", "password_policy=strict", "passwords do not match",
    "password strength: weak", "password length: 14", "passwordless login enabled", "password manager integration", "no password supplied", "fe_sendauth: no password supplied", "using password: YES", "Access denied for user 'bob'@'localhost' (using password: YES)", "password_changed_at=2026-01-01", "old password does not match", "forgot password link clicked", "GET /forgot-password HTTP/1.1", "POST /api/v1/users/7/password HTTP/1.1", "POST /auth/token HTTP/1.1",
    "GET /reset-password?lang=de HTTP/1.1", "passed: 12, failed: 3", "bypass enabled", "compass heading 12", "passenger 4 boarded", "passport check", "pass 2 of 3", "pass rate 98.5%", "test pass: 12", "pass=12 fail=3", "PWD=/app OLDPWD=/", "pwd: /home/bob", "token expired", "token is invalid", "invalid token", "Token has expired at 2026-01-02T03:04:05Z", "missing token", "token refreshed for bob",
    "token_count=512", "max_tokens=4096 tokens_used=17", "prompt_tokens: 812, completion_tokens: 77", "total tokens 889", "token limit 8192 exceeded", "Unexpected token < in JSON at position 0", "unexpected token }} at line 3", "next_token=null", "pageToken: none", "tokenizer cl100k_base loaded", "token bucket 100 a second", "token type bearer", "token_type=bearer expires_in=3600", "token endpoint https://id.example/oauth/token",
    "access token ttl 3600s", "access_token_ttl=3600", "refresh token rotation enabled", "csrf token missing or incorrect", "CSRF verification failed", "csrf cookie not set", "api key missing", "API key not configured", "no API key provided", "API key: not set", "api_key=None", "api_key is required", "apiKey: undefined", "key not found: V_Speed", "KeyError: 'password'", "KeyError: 'token'", "key=V_Temperature value=12", "primary key violated", "foreign key constraint fails (`app`.`device`, CONSTRAINT `fk_1`)",
    'duplicate key value violates unique constraint "users_email_key"', "public key loaded", "key usage: digital signature", "keyboard interrupt", "hotkey ctrl+s", "monkey patch applied", "secret not found", 'secret "db-main" not found', 'secrets "registry" is forbidden', "secret/db-main created", "mounted secret volume db-main", "secretName: db-main", "secretRef: vault/db", "secret rotated", "secret_version=3", "3 secrets loaded", "top secret project", "the secret is out",
    "credentials updated", "credentials: none", "Credentials: 3 configured", "invalid credentials", "credentials for bob expired", "bad credentials for user bob", "could not validate credentials", "credentials provider chain: env, file", "using credentials from /etc/agent/creds.json", "login at 12:30:45", "login from {ip}:51234", "login failed: 3 attempts", "login: bob", "logins: 12:30 14:15", "logged in as bob", "user bob logged in from {ip}", "login page rendered",
    "auth: ok", "auth method=oauth2", "authenticated user bob", "authentication required", "authorization required", "Authorization header missing", "Authorization: none", "missing Authorization header", "bearer token missing", "Bearer authentication scheme", 'WWW-Authenticate: Bearer realm="api"', "Basic authentication disabled", "basic functionality works", "basic auth is off", "basic types checked", "author: Bob Miller", "authored by alice", "authority=api.example", "oauth flow started",
    "session started", "session size=10", "session_id=none", "session 7 closed", "sessions active: 4", "cookie banner accepted", "cookies enabled", "Cookie: ", "set-cookie header was empty", "otp required", "otp sent", "OTP is valid for 5 minutes", "mfa enabled", "verification code sent", "verification code expired", "pin 4 set to high", "pin: 13", "GPIO pin is 17", "PIN mode out", "pin code required", "security code required", "answer: yes", "the answer is 42",
    "scope=read:devices write:devices", "permissions: iodd:read,iodd:write", "grant_type=client_credentials", "grant_type=password", "response_type=code", "GET /oauth/authorize?response_type=code&client_id=web&scope=openid HTTP/1.1", "GET /api/v1/devices?sort_key=name&page=2 HTTP/1.1", "GET /items?key=name&code=404 HTTP/1.1", "GET /callback?error=access_denied HTTP/1.1", "GET /static/js/main.{h8}.chunk.js HTTP/1.1", "GET /favicon.ico?v={d6} HTTP/1.1", "GET /docs/authentication#tokens HTTP/1.1",
    "Passwort erforderlich", "Passwort ist zu kurz", "Passwort: Pflichtfeld", "Das Passwort wurde geändert", "Falsches Passwort", "Kennwort vergessen?", "Passwort muss mindestens 12 Zeichen haben", "Zugangsdaten fehlen", "Anmeldung fehlgeschlagen", "Benutzer bob angemeldet", "Schlüssel nicht gefunden", "Token abgelaufen", "Passwort für bob ist abgelaufen", "Kennwort: nicht gesetzt",
    # code
    "    user = authenticate(username=username, password=password)", "def login(user: str, password: str) -> Token:", "password = get_password()", "password=os.environ['DB_PASSWORD']", "token = request.headers.get('Authorization')", "self.secret = settings.SECRET_KEY", "api_key=settings.api_key", "password: Optional[str] = None", "password: SecretStr", "raise ValueError('password too short')", "if not password:", "return token", "const token = useToken()", "token: string;", "password?: string", "apiKey: process.env.API_KEY",
    "password: !vault |", "password: ${DB_PASSWORD}", "password={{ vault_password }}", "password=%s", "password=:password", "password = ?", "WHERE password = $1", "SELECT password, token FROM users", "SELECT id, password_hash FROM users WHERE email = %(email)s", "UPDATE users SET password = %(password)s", "INSERT INTO users (name, password) VALUES (%s, %s)", "INSERT INTO users (id, password) VALUES (?, ?)", "password VARCHAR(255) NOT NULL", "ALTER TABLE users ADD COLUMN password_hash TEXT", "password=<password>", "password=<redacted>", "password=********", "password=[FILTERED]",
    "password='**********'", "SecretStr('**********')", "Authorization: Bearer ***", "Authorization: [REDACTED]", "token=xxxxxxxx", "https://bob:***@host/x", "postgresql://app:***@db/x", "postgres://app:xxxxx@db/x", "redis://cache:6379/0", "amqp://guest@mq:5672//", "http://{ip}:8000/health", "https://example.com/@user/post/{d12}", "https://medium.com/@bob/title-{h12}", "git@github.com:org/repo.git", "ssh://git@host/repo", "npm install @types/node@20.1.0", "react@18.2.0", "pkg:npm/%40angular/core@12.0.0", "icon@2x.png",
    "user@host", "root@web-1:~#", "systemd unit getty@tty1.service", "@app.route('/x')", "@media (max-width: 600px)", "decorator @dataclass used", "ping bob @ desk", 'File "/app/src/auth/password.py", line 45, in verify_password', 'File "/app/src/token.py", line 3, in <module>', "at com.example.auth.TokenFilter.doFilter(TokenFilter.java:45)", "at Object.<anonymous> (/app/node_modules/jsonwebtoken/verify.js:70:17)", "panic: runtime error: index out of range [5] with length 3", "goroutine 17 [running]:", "ImportError: cannot import name 'password_hasher' from 'auth'",
    "NameError: name 'token' is not defined", "AttributeError: 'NoneType' object has no attribute 'password'", "TypeError: login() missing 1 required positional argument: 'password'", "pydantic: field 'password' missing", "1 validation error for Login\npassword\n  Field required [type=missing, input_value={{'username': 'bob'}}, input_type=dict]", "1 validation error for Login\nage\n  Input should be a valid integer [type=int_parsing, input_value='abc', input_type=str]", "[SQL: SELECT users.id FROM users WHERE users.name = %(name)s]\n[parameters: {{'name': 'bob'}}]",
    # machine text
    ".btn{{color:#fff;background:#{h6}}}#password{{width:10px}}", "a{{b:c}}.token-{h6}{{margin:0 auto}}", "!function(e,t){{var n=e.password||t.token;return n}}(window,document)", "function(t){{return t.token?t.token:null}}", "00000000  7f 45 4c 46 02 01 01 00  |.ELF....|", 'http_requests_total{{method="post",code="200"}} 1027 {e13}', "# HELP token_requests_total Number of token requests", 'token_refresh_seconds_bucket{{le="0.5"}} 12', 'auth_failures_total{{reason="bad_password"}} 3', 'go_info{{version="go1.22.1"}} 1',
    "login.password.label=Password", "login.password.placeholder=Enter your password", "error.token.expired=Your session has expired", 'level=info msg="token refreshed" user=bob ttl=3600', "kubectl get secret db-main -o yaml", "secret/db-main configured", "--password-stdin", "--token-file /run/secrets/token", "--password-file=/run/secrets/pw", "docker login --username bob --password-stdin", "curl -u bob https://x", "docker run -u 1000:1000 app", "chown -R 1000:1000 /data", "mysql -u root -p", "ssh -p 2222 bob@host", "tar -p -xf a.tar", "cp -p a b",
    "npm_config_cache=/home/u/.npm", "hf_hub_download(repo_id='x')", "re_compile_pattern failed", "sk-circle sk-fading-circle spinner", "risk-assessment-framework-2024", "task-0123456789abcdef-runner", "AKIA is the prefix", "pk_live_ is public", "SG.1 rule", "xoxo hugs", "eyJ means JSON", "ghp prefix", "hvs.name", "ya29 is a prefix", "s.name s.value", "dapi_route_table", "rnd_generator", "pul-lover", "ops_team_alpha", "fo1_x", "EAA economic area", "SKU SK{d8}", "napi_create_function", "dp.pt is short",
    "charset=utf-8; boundary=----WebKitFormBoundary{b16}", "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "Accept: text/html,application/xhtml+xml;q=0.9", 'If-None-Match: "{h32}"', "X-Forwarded-For: {ip}, {ip}", "Content-MD5: {b22}==", "Sec-WebSocket-Key: {b22}==", "Sec-WebSocket-Accept: {b27}=", "nonce {b22}", "cache key app:devices:{h32}", "Cache-Key: {h40}", "redis key session:{uuid} expired", "partition key device_id", "s3 key uploads/2026/01/{uuid}.xml", "idempotency-key: {uuid}", "object key iodd/{h12}.xml",
    "%5Bfilter%5D=name%20asc", "q=caf%C3%A9%20cr%C3%A8me", "100% done, 50%d formatted", "C:\\Users\\bob\\token.txt", "/etc/ssl/private/server.key", "/var/run/secrets/kubernetes.io/serviceaccount/token", "path=/run/secrets/db_password", "loaded /app/.env", "\x1b[32mINFO\x1b[0m password check passed", "\x1b[1mtoken\x1b[0m refreshed", "emoji 🔑 key", "Größe: 12 mm", "naïve café", "日本語 パスワード", "smile :) :-( ;)", "a=b=c", "{{}}", "[]", "null", "x = y # comment", "5 > 3 && 2 < 4",
    "user 'bob' / role 'admin'", "bob/admin", "admin:admins", "role: admin:read", "time 12:30", "host: db:5432", "connect to db:5432 as app", "user app connected", "username: bob", "user=bob role=admin", "user: bob", "changed from 'a' to 'b'", "status changed from 'pending' to 'active'", "reset to defaults", "set to 42", "now 17", "level set to debug", "API token created", "API token revoked for bob", "api_token deleted", "Token validated", "Token refresh scheduled", "access key rotated", "secret key loaded from file", "bearer tokens enabled", "redis AUTH failed", "AUTH required",
    "WRONGPASS invalid username-password pair", "NOAUTH Authentication required.", "SASL authentication failed: 535 5.7.8", "530 5.7.0 Authentication Required", "PASS command not understood", "331 Please specify the password.", "login as: bob", "sudo: a password is required", "Permission denied (publickey,password).", "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}", "Accepted publickey for bob from {ip} port 51234 ssh2: RSA SHA256:{b43}", "Failed password for invalid user admin from {ip} port 51234 ssh2", "Accepted password for bob from {ip} port 22 ssh2",
    "machine learning model loaded", "machine m-12 login disabled", "ENV production", "ENV PATH /usr/bin", "ARG VERSION=1.2.3", "key | value", "name | password", "| token | string | required |", "password | string | yes", "## Password", "- password: the user's password", "* token: your API token", "password (string): the password", "token (optional)", "password [required]", "password <string>", "secret <name>", "the password (hashed)", "token [a-z0-9]+", "password -- see docs", "token -- optional", "password / token", "user / password", "passwd file", "password => required",
)  # fmt: skip

_FIELD = re.compile(r"\{([a-z]+[0-9]{0,3}|A2)\}")

FIELDS: tuple[tuple[str, object], ...] = (
    ("author", "bob"), ("auth_method", "oauth2"), ("auth_type", "jwt"), ("token_type", "Bearer"), ("token_count", 512), ("tokens", 17), ("max_tokens", 4096), ("usage", {"prompt_tokens": 12, "completion_tokens": 7}), ("key", "V_Temperature"), ("keys", ["a", "b"]), ("key_id", "k-12"), ("primary_key", "id"),
    ("public_key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIabc"), ("partition_key", "device-7"), ("sort_key", "name"), ("cache_key", "app:devices:7"), ("password", None), ("password", ""), ("password", "********"), ("password", "[REDACTED]"), ("password", "<hidden>"), ("password", "${DB_PASSWORD}"), ("has_password", True), ("password_set", True), ("password_changed_at", "2026-01-01T00:00:00Z"), ("password_length", 12),
    ("password_policy", "min12"), ("passwordStrength", "strong"), ("password_expires_in_days", 30), ("secret_name", "db-main"), ("secretRef", "vault:db"), ("secret_version", 3), ("secrets_rotated", 4), ("imagePullSecrets", [{"name": "registry"}]), ("credentials_count", 3), ("token_expires_in", 3600), ("access_token_ttl", 300), ("token", None), ("token", 5), ("private_key_id", "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334"), ("certificate", "CN=api"), ("fingerprint", "ab:cd:ef"),
    ("etag", 'W/"abc"'), ("PWD", "/app"), ("session_count", 4), ("sessions_active", 3), ("cookies_enabled", True), ("cookie_consent", "all"), ("grant_type", "password"), ("passed", 12), ("passenger", "bob"), ("bypass", True), ("monkey", "x"), ("hotkey", "ctrl+s"), ("i18n", {"login.password": "Password", "login.forgotPassword": "Forgot your password?", "login.token": "Token"}), ("labels", {"password": "Password", "passwordConfirm": "Confirm password", "apiKey": "API key"}), ("schema", {"properties": {"password": {"type": "string", "minLength": 12}, "token": {"type": "string"}}, "required": ["username", "password"]}),
    ("required", ["username", "password", "token"]), ("fields", ["email", "password"]), ("loc", ["body", "password"]), ("msg", "password too short"), ("columns", ["id", "password_hash", "token"]), ("scopes", ["iodd:read", "iodd:write"]), ("env", ["PATH=/usr/bin", "HOME=/root"]), ("headers", {"content-type": "application/json", "x-request-id": "7", "accept": "*/*"}), ("errors", {"password": ["This field is required."], "token": ["Invalid token."]}), ("errors", {"password": "must be at least 12 characters"}), ("rules", {"password": "required|min:12|confirmed"}),
    ("digest", "sha256:" + "ab12" * 16), ("checksum", "0123456789abcdef0123456789abcdef"), ("commit", "0123456789abcdef0123456789abcdef01234567"), ("uuid", "550e8400-e29b-41d4-a716-446655440000"), ("amount", 4111.11), ("epoch_us", 1763461800000294), ("epoch_ns", 1763461800000294123), ("serial", "4111111111111112"), ("V_Password", 12345), ("TI_Password", "Passwort"), ("auth", "ok"), ("auth", True), ("sid", "7"), ("session_id", "42"), ("otp_enabled", True), ("pin", 13), ("pin", "GPIO17"),
)  # fmt: skip


def fill(d: Dice, phrase: str) -> str:
    values: dict[str, object] = {
        "uuid": d.uuid(),
        "ip": d.ip(),
        "n": d.randrange(255),
        "c2": d.hexa(2),
        "A2": d.some(string.ascii_uppercase, 2),
    }
    for size in (3, 4, 6, 8, 10, 12, 16, 24, 32, 40, 64, 128):
        values[f"h{size}"] = d.hexa(size)
    for size in (3, 4, 6, 8, 12, 14, 16, 17, 30):
        values[f"d{size}"] = d.some(string.digits, size)
    for size in (16, 21, 22, 27, 43, 60, 64, 86, 200, 300, 400):
        values[f"b{size}"] = d.some(ALNUM + "+/", size) if size not in (16, 21, 27) else d.some(ALNUM, size)
    for size in (10, 13, 16, 19):
        values[f"e{size}"] = ("17" + d.some(string.digits, 17))[:size]
    bad = "4" + d.some(string.digits, 14)
    values["notluhn"] = bad + str((int(luhn_digit(bad)) + d.randrange(1, 9)) % 10)
    other = "1" + d.some(string.digits, 12)
    values["luhn14"] = other + luhn_digit(other)
    return _FIELD.sub(lambda m: str(values.get(m[1], m[0])), phrase.replace("{{", "{").replace("}}", "}"))


def negatives(seed: int, rounds: int = 3) -> Iterator[str]:
    d = Dice(seed)
    for number in range(rounds):
        for phrase in PHRASES:
            message = fill(d, phrase)
            yield greenstack(d, message) if "\n" in message or number % 2 == 0 else line(d, message)
            if number == 0:
                yield greenstack(d, "x", detail=message)
                yield greenstack(d, "x", body=json.dumps({"message": message, "n": 1}))
                yield greenstack(
                    d,
                    "failed",
                    exc_info=f'Traceback (most recent call last):\n  File "/app/x.py", line 3, in f\nValueError: {message}',
                )
                yield message.replace("\n", " ")
        for name, value in FIELDS:
            more = d.choice(FIELDS)
            yield greenstack(d, fill(d, d.choice(PHRASES)), **{name: value, more[0]: more[1]})
            if number == 0:
                yield greenstack(d, "x", ctx={"a": [{name: value}]})
                yield greenstack(d, f"payload {json.dumps({name: value})}")
                yield greenstack(d, f"payload { {name: value}!r}")
