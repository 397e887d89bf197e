"""How the property tests run, wherever they run."""

from hypothesis import HealthCheck, settings

# The machines that run the suite are shared. How long an example takes, or how long its input takes to make, tells
# about the neighbours then and not about the agent; pytest's own time limit still ends a test that hangs.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")
