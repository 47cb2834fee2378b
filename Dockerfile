# The service as an image. docs/production.md says what to set and what to put in front of it.
#
#     docker build --tag linked-accounts .
#     docker run --rm --read-only --tmpfs /tmp --env-file .env --publish 127.0.0.1:8000:8000 linked-accounts
#
# The base is any image whose python3 is 3.11 or newer and has venv; name it by its digest where builds have to be repeatable.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
COPY requirements.txt /build/
# pip and setuptools serve this stage alone: what runs has no use for them.
RUN python3 -m venv /venv \
    && /venv/bin/python -m pip install --disable-pip-version-check --no-cache-dir --no-compile --require-hashes \
        --requirement /build/requirements.txt \
    && /venv/bin/python -m pip --disable-pip-version-check uninstall --yes setuptools pip
COPY app.py /app/
COPY schemas /app/schemas/
COPY bff /app/bff/
# Compiled now, since nothing can be written later; by hash, for some builders change the files' times. Readable by anybody, whatever
# the checkout's own permissions are.
RUN /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /venv/lib /app \
    && chmod -R a+rX,go-w /app

FROM ${BASE}
LABEL org.opencontainers.image.title="linked-accounts-bff" \
      org.opencontainers.image.description="Which outside accounts has this person linked? A backend-for-frontend over GenAuth." \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
# By number: Kubernetes' runAsNonRoot cannot tell who a name is.
USER 10001:10001
EXPOSE 8000
# Asks for /livez on PORT.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-m", "bff.server.healthcheck"]
# The Procfile's `web:` line: there is one way to start.
CMD ["python", "-m", "bff.server.launch"]
