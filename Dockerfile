# The wheels are chosen and hashed in requirements.lock: no compiler, and nothing but what was reviewed.
FROM python:3.13-slim AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/greenstack-agent
ENV PATH=/opt/greenstack-agent/bin:$PATH
WORKDIR /build
COPY requirements.lock requirements-dev.lock ./
RUN pip install --require-hashes --no-deps --only-binary=:all: -r requirements.lock
# What builds the package is hashed too, among the tools of development.
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements-dev.lock > build.lock && \
    pip install --require-hashes --no-deps --only-binary=:all: -r build.lock
COPY pyproject.toml README.md ./
COPY agent agent
RUN pip install --no-deps --no-build-isolation . && pip check && pip uninstall --yes setuptools pip

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
