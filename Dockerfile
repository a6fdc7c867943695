# Two targets: cpu (the default for compose) and gpu. Untried on GPU hardware.
FROM python:3.11-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --create-home --uid 1000 camshard
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY camshard camshard
COPY producer producer
COPY worker worker
COPY shared shared

FROM base AS cpu
RUN pip install --constraint constraints.txt '.[cpu,monitor]'
WORKDIR /data
USER camshard
ENTRYPOINT ["camshard"]
CMD ["--help"]

FROM base AS gpu
# brings CUDA from PyPI; the host needs the NVIDIA driver and container toolkit alone
RUN pip install --constraint constraints.txt '.[gpu,monitor]'
WORKDIR /data
USER camshard
ENTRYPOINT ["camshard"]
CMD ["--help"]
