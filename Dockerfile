# The worker, the aggregator and every other `forebay` command, in one image.
#
#   docker build -t forebay .                                        # torch for CPUs
#   docker build -t forebay:cuda --build-arg TORCH_BACKEND=cu130 .   # torch with CUDA
#
# TORCH_BACKEND is what uv calls so: cpu, cu126, cu128, cu130, ... from torch's own index. Empty: the torch of the package
# registry, which on Linux is the CUDA build. PIP_INDEX_URL and UV_DEFAULT_INDEX name another registry.

ARG PYTHON_VERSION=3.11.14

# ---- wheels: what is installed; may hold compilers and tools, none of which goes on

FROM python:${PYTHON_VERSION}-slim-trixie AS build
ARG TORCH_BACKEND=cpu
ARG EXTRAS=aggregate
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
ENV UV_LINK_MODE=copy UV_NO_PROGRESS=1 UV_NO_CACHE=1
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9 && uv venv /opt/forebay
WORKDIR /src
# Of the project only what decides about dependencies: a change of code leaves this large layer as it is.
COPY pyproject.toml constraints.txt ./
# The bytecode is made here, since the worker's file system is read-only; by content, since times change on the way.
# What only compiles against torch is left out: there is no compiler in the image.
RUN IFS=, ; for extra in $EXTRAS; do set -- "$@" --extra "$extra"; done \
    && VIRTUAL_ENV=/opt/forebay PYC_INVALIDATION_MODE=unchecked-hash uv pip install --compile-bytecode \
        ${TORCH_BACKEND:+--torch-backend="$TORCH_BACKEND"} --constraint constraints.txt \
        --requirement pyproject.toml "$@" \
    && rm -rf /opt/forebay/lib/python*/site-packages/torch/include \
        /opt/forebay/lib/python*/site-packages/torch/share/cmake \
        /opt/forebay/lib/python*/site-packages/torch/lib/*.a
COPY . .
RUN uv build --wheel --out-dir /wheels

# ---- the image

FROM python:${PYTHON_VERSION}-slim-trixie
ARG VERSION=unknown
ARG REVISION=unknown
ARG TORCH_BACKEND=cpu
LABEL org.opencontainers.image.title="forebay" \
      org.opencontainers.image.description="Streaming inference: read feature events from Kafka, predict them in micro-batches with torch models, and write predictions and errors back to Kafka" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="python:${PYTHON_VERSION}-slim-trixie" \
      forebay.torch-backend="${TORCH_BACKEND}"
# tini is process 1: it passes signals on even while Python starts (process 1 gets none that it has no handler for), and buries
# orphans. /models is a folder of the user's, so that a new volume mounted there is too.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini=0.19.* \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 forebay \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin forebay \
    && install --directory --owner=10001 --group=10001 /models /etc/forebay
COPY --from=build /opt/forebay /opt/forebay
# The project by itself: of a new version of it this is all that is to be fetched.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip --python /opt/forebay/bin/python install --no-cache-dir --no-deps --no-compile --no-index /wheels/*.whl \
    && /opt/forebay/bin/python -m compileall -q --invalidation-mode unchecked-hash \
        /opt/forebay/lib/python*/site-packages/forebay
ENV PATH=/opt/forebay/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    FOREBAY_MODEL__REPOSITORY=/models \
    FOREBAY_ADMIN__HOST=0.0.0.0 \
    FOREBAY_ADMIN__PORT=8080 \
    FOREBAY_ADMIN__PORT_RETRIES=0 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# ./forebay.toml is read where there is one: mount it there, or set everything by environment.
WORKDIR /etc/forebay
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "forebay"]
CMD ["run"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-I", "-S", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['FOREBAY_ADMIN__PORT'] + '/healthz', timeout=4)"]
