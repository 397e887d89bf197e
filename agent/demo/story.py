"""What happens in GreenStack: requests and the lines they log, told by seeded dice.

A `Happening` is one call of a logger. The share of levels follows the application's own report: about 60 % INFO, 25 %
DEBUG, 10 % WARNING, 5 % ERROR, now and then CRITICAL. Secrets stand where applications log them by accident.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.demo.planted import Secrets, secrets_of

_ROUTES = "src.routes."
_DEVICES = ("AL1350", "BNI IOL-104", "Ventil-Größe 3", "温度传感器 T7", "PQA-Ω 12", 'Sensor "B" \\ 5')
_VENDORS = ("Murrelektronik", "Balluff", "ifm", "Pepperl+Fuchs", "Café Électrique")
_ENDPOINTS = ("/api/iodd", "/api/eds", "/api/tickets", "/api/search", "/health", "/api/admin/users")


@dataclass(frozen=True, slots=True)
class Happening:
    """One line to be: `error` is raised and caught, so that `exc_info` has a traceback."""

    logger: str
    level: int
    message: str
    extra: Mapping[str, object] = field(default_factory=dict)
    error: Exception | None = None


class Story:
    """Endless happenings of one worker, the same for the same seed and worker."""

    def __init__(self, seed: int, worker: int = 0) -> None:
        self._dice = random.Random(f"story {seed} {worker}")
        self._secrets: Secrets = secrets_of(seed)

    def __iter__(self) -> Iterator[Happening]:
        scenes = (self._upload, self._query, self._ticket, self._login, self._health, self._parse, self._trouble)
        yield Happening("src.start", logging.INFO, "GreenStack API starting on port 8000", {"event": "startup"})
        # Every scene once, so that a short run shows all of them; then as often as in life.
        for scene in scenes:
            yield from scene(self._request())
        while True:
            yield from self._dice.choices(scenes, (20, 30, 12, 8, 15, 12, 3))[0](self._request())

    def _request(self) -> dict[str, object]:
        """What the lines of one request share: its id, the caller, and for some a trace."""
        dice = self._dice
        shared: dict[str, object] = {"request_id": str(uuid.UUID(int=dice.getrandbits(128), version=4))}
        if dice.random() < 0.3:
            shared["trace_id"] = f"{dice.getrandbits(128):032x}"
            shared["span_id"] = f"{dice.getrandbits(64):016x}"
        return shared

    def _ip(self) -> str:
        dice = self._dice
        if dice.random() < 0.1:
            return f"2001:db8::{dice.randrange(1, 0xFFFF):x}"
        return f"192.168.{dice.randrange(256)}.{dice.randrange(1, 255)}"

    def _email(self) -> str:
        return f"{self._dice.choice(('john', 'maría.lópez', 'ops+alerts', 'k.tanaka'))}@example.com"

    def _ms(self) -> float:
        return self._dice.lognormvariate(4, 1)

    def _upload(self, shared: dict[str, object]) -> Iterator[Happening]:
        dice, logger = self._dice, f"{_ROUTES}iodd_routes"
        device = dice.choice(_DEVICES)
        start = {"event": "upload_start", "content_type": "application/xml", "client_ip": self._ip()}
        yield Happening(logger, logging.INFO, "IODD upload started", {**shared, **start, "upload": f"{device}.xml"})
        size = {"file_size_bytes": dice.randrange(10_000, 5_000_000)}
        yield Happening(logger, logging.DEBUG, "File read completed", {**shared, **size})
        if dice.random() < 0.05:
            broken = ValueError(
                f"not well-formed (invalid token): line {dice.randrange(900)}, column 7, device {device}"
            )
            failed = {**shared, "event": "upload_failed", "error": str(broken), "error_type": "ValueError"}
            yield Happening(logger, logging.ERROR, "IODD upload failed", failed, broken)
            return
        done = {"event": "upload_complete", "device_id": dice.randrange(1, 5000), "duration_ms": self._ms()}
        done["parameter_count"] = dice.randrange(400)
        yield Happening(logger, logging.INFO, "IODD upload completed", {**shared, **done})
        told = f"Device {device} of {dice.choice(_VENDORS)} uploaded by {self._email()} took {self._ms():.0f}ms"
        yield Happening(logger, logging.INFO, told, shared)

    def _query(self, shared: dict[str, object]) -> Iterator[Happening]:
        dice, secret = self._dice, self._secrets
        path = dice.choice(_ENDPOINTS)
        if dice.random() < 0.2:
            path = f"{path}?page={dice.randrange(40)}&api_key={secret.api_key}"
        seen = {**shared, "event": "request", "path": path, "client_ip": self._ip(), "duration_ms": self._ms()}
        seen["status"] = dice.choices((200, 304, 404, 500), (90, 5, 4, 1))[0]
        yield Happening(f"{_ROUTES}query_routes", logging.INFO, f"GET {path}", seen)
        sql = f"Query: SELECT * FROM devices WHERE vendor = ?, Params: ('{dice.choice(_VENDORS)}',)"  # noqa: S608 - a text
        yield Happening("src.storage", logging.DEBUG, sql, {**shared, "rows": dice.randrange(1000)})
        if dice.random() < 0.25:
            slow = f"Parse took {dice.uniform(1, 4)}s (expected <1s)"
            yield Happening("src.storage", logging.WARNING, slow, {**shared, "event": "slow_query"})

    def _ticket(self, shared: dict[str, object]) -> Iterator[Happening]:
        dice = self._dice
        number = f"TICKET-{dice.randrange(10_000):04d}"
        made = {
            **shared,
            "event": "ticket_created",
            "ticket": number,
            "priority": dice.choice(("low", "high", "kritisch")),
        }
        told = f"Ticket {number} created by {self._email()}: „Gerät antwortet nicht“ 🚨\nsecond line\tof the report"
        yield Happening(f"{_ROUTES}ticket_routes", logging.INFO, told, made)

    def _login(self, shared: dict[str, object]) -> Iterator[Happening]:
        dice, secret, logger = self._dice, self._secrets, f"{_ROUTES}auth_routes"
        name, password = dice.choice(secret.logins)
        yield Happening(logger, logging.DEBUG, f"User credentials: {name}:{password}", shared)
        header = dice.choice((f"Authorization: Bearer {secret.jwt}", f"Authorization: Basic {secret.basic}"))
        yield Happening(logger, logging.DEBUG, f"Request headers: {header}", {**shared, "client_ip": self._ip()})
        if dice.random() < 0.5:
            form = {
                **shared,
                "event": "login",
                "user": name,
                "password": password,
                "cookie": f"session={secret.session}",
            }
            yield Happening(logger, logging.INFO, "User logged in", form)
        else:
            headers = {**shared, "headers": {"Authorization": f"Bearer {secret.jwt}", "User-Agent": "curl/8.5.0"}}
            yield Happening(logger, logging.WARNING, f"Login failed for {self._email()}", headers)

    def _health(self, shared: dict[str, object]) -> Iterator[Happening]:
        dice = self._dice
        # psutil divides by zero elapsed time now and then; json writes the result as a bare NaN.
        load = float("nan") if dice.random() < 0.1 else dice.random()
        state = {**shared, "event": "health", "cpu": load, "memory": dice.random(), "ok": True, "note": None}
        yield Happening("src.health", logging.INFO, "Health check passed", state)
        if dice.random() < 0.3:
            yield Happening(
                "src.cache", logging.WARNING, "Redis unavailable, using in-memory cache", {"event": "fallback"}
            )

    def _parse(self, shared: dict[str, object]) -> Iterator[Happening]:
        dice = self._dice
        count = dice.randrange(2, 6)
        for index in range(count):
            told = f"Parsing parameter {index}/{count}: V_{dice.choice(_DEVICES)}"
            yield Happening("src.parsing", logging.DEBUG, told, {**shared, "index": index, "value": dice.gauss(0, 100)})
        shown = {
            "event": "parse_complete",
            "duration_ms": self._ms(),
            "checksums": [dice.randrange(256) for _ in range(4)],
        }
        yield Happening("src.parsing", logging.INFO, "IODD parsed", {**shared, **shown})

    def _trouble(self, shared: dict[str, object]) -> Iterator[Happening]:
        dice, secret = self._dice, self._secrets
        url = f"postgresql://greenstack:{secret.database_password}@db.internal:5432/greenstack"
        lost = ConnectionError(f"could not connect to {url}")
        extra = {**shared, "event": "database_lost", "error": str(lost), "error_type": "ConnectionError"}
        yield Happening("src.database", logging.ERROR, "Database connection lost", extra, lost)
        key = dice.choice((secret.aws_key, secret.github_token, secret.stripe_key))
        yield Happening(
            "src.backup", logging.ERROR, f"Backup refused, key {key} is not valid", {**shared, "attempt": 3}
        )
        yield Happening(
            "src.health", logging.CRITICAL, "Disk space critical: 96.4% used", {"event": "disk", "nan": float("nan")}
        )
