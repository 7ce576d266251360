# One image recipe for every service: docker build --build-arg SERVICE=registry .
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ARG SERVICE
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app
COPY pyproject.toml uv.lock ./
COPY apps apps
COPY libs libs
COPY services services
# Stages of repositories without a lock file run in the trainer's environment, so the trainer's
# image also has what pipelines of scikit-learn shape need.
# The scorer's image has every runtime.
RUN extra=$(case "$SERVICE" in trainer) echo "--package loopwright";; scorer) echo --all-extras;; esac) \
    && uv sync --frozen --no-dev --no-editable --compile-bytecode \
       --package "loopwright-${SERVICE}" $extra

FROM python:${PYTHON}
ARG SERVICE
# LightGBM's wheel wants the system's OpenMP.
RUN packages=$(case "$SERVICE" in trainer) echo git;; scorer|deployer) echo libgomp1;; esac) \
    && if [ -n "$packages" ]; then \
        apt-get update && apt-get install -y --no-install-recommends $packages \
        && rm -rf /var/lib/apt/lists/*; \
    fi \
    && useradd --uid 10001 --create-home loopwright \
    && install -d -o loopwright /data
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
    LOOPWRIGHT_HOST=0.0.0.0 SERVICE=${SERVICE}
# Beyond loopback a service starts only with LOOPWRIGHT_ALLOW_UNAUTHENTICATED=true: see compose.yaml.
USER loopwright
WORKDIR /data
VOLUME /data
# The service becomes process 1 and is told to stop by SIGTERM.
ENTRYPOINT ["sh", "-c", "exec python -m loopwright_${SERVICE}.main \"$@\"", "loopwright"]
