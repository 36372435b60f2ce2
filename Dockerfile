# syntax=docker/dockerfile:1
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm
FROM ${PYTHON_IMAGE}

# torch first and alone: its index for CPUs holds nothing else, and the general one brings gigabytes of CUDA.
# For a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_VERSION=2.13.0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --index-url "${TORCH_INDEX}" "torch==${TORCH_VERSION}"

# For runs on a cluster (docs/how-to/several-machines.md): --build-arg EXTRAS=,k8s or EXTRAS=,ray
ARG EXTRAS=
WORKDIR /opt/rag_pipeline
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY rag_pipeline rag_pipeline
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt ".[ui,model,openvino,postgres,s3,gcs,pii${EXTRAS}]"

# Dagster reads its settings from DAGSTER_HOME and writes below /var/lib.
ENV DAGSTER_HOME=/opt/dagster \
    DAGSTER_STORAGE=/var/lib/dagster \
    HF_HOME=/var/lib/rag_pipeline/huggingface \
    DO_NOT_TRACK=1 \
    RAG_CONFIG=/etc/rag_pipeline/rag_pipeline.yaml
RUN useradd --uid 10001 --create-home rag \
    && install -d -o rag -g rag /opt/dagster /var/lib/dagster /var/lib/rag_pipeline /etc/rag_pipeline
COPY --chown=rag:rag rag_pipeline/dagster.yaml /opt/dagster/dagster.yaml

USER rag
WORKDIR /home/rag
EXPOSE 4000
# The code server. docker-compose.yml starts webserver and daemon from the same image.
CMD ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--module-name", "rag_pipeline.definitions"]
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=5 \
    CMD ["dagster", "api", "grpc-health-check", "--port", "4000"]
