# Two targets: cpu and gpu (untried on GPU hardware). docs/deployment.md says how to build them, also without Docker.
# Behind a package mirror: --secret id=pip.conf,src=FILE hands pip's configuration in, and no image keeps it.
ARG BASE_IMAGE=python:3.11.15-slim-bookworm

# what is installed, out of pyproject.toml: only a change of these lists installs TensorFlow anew
FROM ${BASE_IMAGE} AS requirements
WORKDIR /build
COPY pyproject.toml deploy/requirements.py ./
RUN python3 requirements.py dependencies local report xarray remote monitor > common.txt \
 && python3 requirements.py cpu > cpu.txt \
 && python3 requirements.py gpu > gpu.txt

FROM ${BASE_IMAGE} AS common
ENV PATH=/opt/camshard/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/camshard
WORKDIR /build
COPY constraints.txt ./
COPY --from=requirements /build/common.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install --constraint constraints.txt --requirement common.txt

FROM common AS with-cpu
COPY --from=requirements /build/cpu.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install --constraint constraints.txt --requirement common.txt --requirement cpu.txt

# brings CUDA from PyPI; the host needs the NVIDIA driver and container toolkit alone
FROM common AS with-gpu
COPY --from=requirements /build/gpu.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install --constraint constraints.txt --requirement common.txt --requirement gpu.txt

FROM common AS package
COPY pyproject.toml README.md LICENSE ./
COPY camshard camshard
COPY producer producer
COPY worker worker
COPY shared shared
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip wheel --no-deps --wheel-dir /dist .

FROM ${BASE_IMAGE} AS runtime
ARG BASE_IMAGE
LABEL org.opencontainers.image.title="camshard" \
      org.opencontainers.image.description="Explain whole image test sets: predictions, CAM and Grad-CAM in batches" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
RUN groupadd --gid 1000 camshard && useradd --uid 1000 --gid 1000 --create-home camshard \
 && install --directory --owner 1000 --group 1000 /data
# whoever the container runs as may write below /tmp, and not below the home of another
ENV PATH=/opt/camshard/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
WORKDIR /data
ENTRYPOINT ["camshard"]
CMD ["--help"]

FROM runtime AS cpu
COPY --from=with-cpu /opt/camshard /opt/camshard
RUN --mount=type=bind,from=package,source=/dist,target=/dist \
    pip install --no-cache-dir --no-index --no-deps /dist/*.whl
USER 1000:1000

FROM runtime AS gpu
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=with-gpu /opt/camshard /opt/camshard
RUN --mount=type=bind,from=package,source=/dist,target=/dist \
    pip install --no-cache-dir --no-index --no-deps /dist/*.whl
USER 1000:1000
