# One image for the worker, the aggregator and all other `forebay` commands.
#
#   docker build -t forebay .                                        # torch for CPUs
#   docker build -t forebay:cuda --build-arg TORCH_BACKEND=cu130 .   # torch with CUDA
#
# TORCH_BACKEND has uv's values: cpu, cu126, cu128, cu130, ... from torch's package index. If it is empty, torch comes from the
# package registry, which has the CUDA build for Linux. PIP_INDEX_URL and UV_DEFAULT_INDEX select another registry.

ARG PYTHON_VERSION=3.11.14

# ---- build stage: its tools are not copied into the image

FROM python:${PYTHON_VERSION}-slim-trixie AS build
ARG TORCH_BACKEND=cpu
ARG EXTRAS=aggregate,avro,images,json-schema,protobuf
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
ENV UV_LINK_MODE=copy UV_NO_PROGRESS=1 UV_NO_CACHE=1
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9 && uv venv /opt/forebay
WORKDIR /src
# Only the files that determine the dependencies, so that a change of code does not rebuild this large layer.
COPY pyproject.toml constraints.txt ./
# Bytecode is compiled here, because the worker's file system is read-only. It is not checked against file times, because
# these change when files are copied. Files for compiling against torch are removed: the image has no compiler.
RUN IFS=, ; for extra in $EXTRAS; do set -- "$@" --extra "$extra"; done \
    && VIRTUAL_ENV=/opt/forebay PYC_INVALIDATION_MODE=unchecked-hash uv pip install --compile-bytecode \
        ${TORCH_BACKEND:+--torch-backend="$TORCH_BACKEND"} --constraint constraints.txt \
        --requirement pyproject.toml "$@" \
    && rm -rf /opt/forebay/lib/python*/site-packages/torch/include \
        /opt/forebay/lib/python*/site-packages/torch/share/cmake \
        /opt/forebay/lib/python*/site-packages/torch/lib/*.a
# The compiled part of the wheel needs a C compiler (decision 42).
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc=4:14.* libc6-dev=2.* \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN FOREBAY_BUILD_NATIVE=1 uv build --wheel --out-dir /wheels

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
# tini is process 1: it forwards signals while Python starts (process 1 receives only signals for which it has a handler) and
# reaps orphaned processes. The user owns /models, so that it also owns a new volume mounted there.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini=0.19.* \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 forebay \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin forebay \
    && install --directory --owner=10001 --group=10001 /models /etc/forebay
COPY --from=build /opt/forebay /opt/forebay
# The project is a separate layer: a new version downloads only this layer.
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
# ./forebay.toml is read if it exists. Mount a file there, or use environment variables.
WORKDIR /etc/forebay
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "forebay"]
CMD ["run"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-I", "-S", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['FOREBAY_ADMIN__PORT'] + '/healthz', timeout=4)"]
