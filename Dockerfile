# The wheels are chosen and hashed in requirements.lock: nothing but what was reviewed. The inner loop is compiled here, from
# the same source (setup.py), with the hashed tools of development; neither they nor the C compiler come into the image.
FROM python:3.13-slim AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
RUN python -m venv /opt/greenstack-agent && python -m venv /opt/build
WORKDIR /build
COPY requirements.lock requirements-dev.lock ./
RUN /opt/greenstack-agent/bin/pip install --require-hashes --no-deps --only-binary=:all: -r requirements.lock
RUN /opt/build/bin/pip install --require-hashes --no-deps --only-binary=:all: -r requirements-dev.lock
COPY pyproject.toml setup.py README.md ./
COPY agent agent
RUN GREENSTACK_AGENT_COMPILE=1 /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . && \
    /opt/greenstack-agent/bin/pip install --no-deps dist/*.whl && /opt/greenstack-agent/bin/pip check && \
    (cd / && /opt/greenstack-agent/bin/python -m agent.transform.redaction.selfcheck) && \
    /opt/greenstack-agent/bin/pip uninstall --yes pip

FROM python:3.13-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="greenstack-agent" \
      org.opencontainers.image.description="Ships GreenStack's JSON logs to Grafana Loki: redacted, once, through any crash." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The root file system is read-only: bytecode was compiled when the wheels were installed.
ENV PATH=/opt/greenstack-agent/bin:$PATH PYTHONDONTWRITEBYTECODE=1
COPY --from=builder /opt/greenstack-agent /opt/greenstack-agent
RUN greenstack-agent --version
# Kubernetes asks /health/live and /health/ready itself.
HEALTHCHECK NONE
STOPSIGNAL SIGTERM
EXPOSE 9480
ENTRYPOINT ["greenstack-agent"]
CMD ["run", "-c", "/etc/greenstack-agent/config.toml"]
