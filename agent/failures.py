"""Failures that an operator can mend, as exit code and message.

0 ok · 1 found problems · 2 usage · 69 Loki unreachable · 73 cannot create state · 75 another instance holds the state ·
77 permission · 78 configuration (sysexits.h, where it has one)
"""

from __future__ import annotations

import sys

OK, PROBLEMS, USAGE = 0, 1, 2
UNREACHABLE, NO_STATE, STATE_HELD, NO_PERMISSION, BAD_CONFIG = 69, 73, 75, 77, 78


def explain(error: BaseException) -> tuple[int, tuple[str, ...]] | None:
    """(exit code, messages) of a known failure; None for a bug, which should show its traceback.

    Looks only at modules that are loaded: what was not imported cannot have been raised, and `--help` stays quick.
    """
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return explain(error.exceptions[0])
    for module, name, code in _KNOWN:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(error, kind):
            problems = getattr(error, "problems", None)
            return code, tuple(map(str, problems)) if problems else (str(error),)
    if isinstance(error, PermissionError):
        return NO_PERMISSION, (f"permission denied: {error.filename}; run as the agent's user, or give it the right",)
    return None


_KNOWN = (
    ("agent.settings", "ConfigInvalid", BAD_CONFIG),
    ("agent.secret", "SecretMissing", BAD_CONFIG),
    ("agent.keys", "KeyTooShort", BAD_CONFIG),
    ("agent.keys", "ValuesUnusable", BAD_CONFIG),
    ("agent.transform.redact", "BadRule", BAD_CONFIG),
    ("agent.tail.multiline", "BadStart", BAD_CONFIG),
    ("agent.buffer.disk", "StateHeld", STATE_HELD),
    ("agent.buffer.disk", "StateUnusable", NO_STATE),
    ("agent.observe.server", "CannotListen", NO_STATE),
)
