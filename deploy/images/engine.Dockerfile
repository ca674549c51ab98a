# The image of Dativo itself, for those with a registry: a Python that is pinned, and bubblewrap for the process sandbox.
#
#   docker build -f deploy/images/engine.Dockerfile \
#     --build-arg PYTHON=python:3.11-slim-bookworm@sha256:… -t REGISTRY/dativo/engine:0.1.0 .
ARG PYTHON

FROM ${PYTHON}
ARG PYTHON
RUN case "${PYTHON}" in *@sha256:*) ;; *) echo "PYTHON has to be pinned by its digest" >&2; exit 1 ;; esac
RUN apt-get update && apt-get install --yes --no-install-recommends bubblewrap && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN pip install --no-cache-dir --constraint /source/constraints.txt \
    /source/sdk "/source[delta,s3,postgres,mysql,container]" \
  && rm -rf /source
ENV LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["python3", "-m", "dativo_ingest"]
