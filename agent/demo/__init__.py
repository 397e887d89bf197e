"""A Loki stand-in and a GreenStack-like writer, for `demo` and for tests."""
