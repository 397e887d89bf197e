"""Sentences about secrets that hold none: what a name is, lacks, was done to, or is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

NAMES = (
    *("password", "Password", "db_password", "DB_PASSWORD", "dbPassword", "passphrase", "passcode", "smtp_pass"),
    *(
        "token",
        "access token",
        "access_token",
        "accessToken",
        "refresh token",
        "GITHUB_TOKEN",
        "csrf token",
        "id_token",
    ),
    *(
        "api key",
        "API key",
        "apiKey",
        "X-Api-Key",
        "API_KEY",
        "signing key",
        "encryption key",
        "private key",
        "SSH key",
    ),
    *("secret", "client secret", "clientSecret", "app_secret", "webhook secret", "SECRET_KEY"),
    *("cookie", "session id", "sessionid", "credential", "credentials", "authorization", "Authorization header"),
    *("otp", "OTP", "pin", "PIN", "JWT", "password hash", "csrf", "bearer token", "verification code", "PGPASSWORD"),
)
STATES = (
    *(
        "{n} is expired",
        "{n} is required",
        "{n} is missing",
        "{n} is empty",
        "{n} is invalid",
        "{n} is null",
        "{n} is None",
    ),
    *("{n} is not set", "{n} is too short", "{n} is already in use", "{n} is case-sensitive", "{n} is base64-encoded"),
    *("{n} is RS256-signed", "{n} is only valid for 5 minutes", "{n} is not allowed here", "{n} is the same as before"),
    *("{n} is optional since v2.3", "{n} is masked as ********", "{n} is stored in vault", "{n} is ${{VALUE}}"),
    *("{n} was rotated", "{n} was revoked by admin", "{n} was not found", "{n} was changed", "{n} was reset by bob"),
    *("{n} was issued for 3600s", "{n} was last used 2026-01-02", "{n} was rejected", "{n} was empty"),
    *("{n} has expired", "{n} has been revoked", "{n} has 12 characters", "{n} has no value", "{n} has been changed"),
    *("invalid {n}", "invalid {n} format", "invalid {n} provided", "invalid {n}: expired", "bad {n}", "bad {n} length"),
    *(
        "missing {n}",
        "missing {n} in request",
        "no {n} given",
        "no {n} for bob",
        "empty {n}",
        "wrong {n}",
        "wrong {n}!",
    ),
    *("set {n} to null", "set {n} to ''", "set {n} to None", "set {n} to {{value}}", "set {n} in the dashboard"),
    *("please set {n} first", "{n} must be set", "{n} must be at least 12 characters", "{n} must not be blank"),
    *("{n} should be rotated every 90 days", "{n} should be kept safe", "{n} will be rotated tonight"),
    *(
        "{n} changed, new value stored",
        "{n} rotated, new value written to vault",
        "{n} updated; new one takes effect now",
    ),
    *("{n} to be used later", "{n} to {{name}} mapping", "using {n} from environment", "using {n} of user bob"),
    *("expected {n} header", "expected {n} but got none", "unexpected {n} in body", "rejected {n} (expired)"),
    *("{n} [redacted] rejected", "{n} [hidden]", "{n} (not set)", "{n} (optional)", "{n} 'null'", "{n} '{{}}'"),
    *("could not read {n} from /run/secrets/value", "failed to decode {n}: invalid length", "{n} check passed in 12ms"),
    *(
        "{n} comparison took 0.3ms",
        "{n}s do not match",
        "{n} policy v2 applied",
        "{n} 3 of 5 tried",
        "{n} ending in 4242",
    ),
    *("enter {n} to continue", "forgot {n}?", "show {n}", "{n} strength: 3/4", "{n} ttl=3600", "{n} source: env"),
    *("assert {n} is not None", "if {n} is None: raise", "{n} == other", "'' == {n}", "assert '' != {n}"),
)


def lines() -> Iterator[str]:
    for name, state in product(NAMES, STATES):
        yield state.format(n=name)
    yield from (Path(__file__).parent / "harmless_prose_lines.txt").read_text().splitlines()
