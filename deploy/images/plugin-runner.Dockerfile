# The image that plugins run in, for those with a registry: what plugin_runner.py makes, of a Python that is pinned.
#
#   docker build -f deploy/images/plugin-runner.Dockerfile \
#     --build-arg PYTHON=python:3.11-slim-bookworm@sha256:… -t REGISTRY/dativo/plugin-runner:0.1.0 .
#
# Push it, and have the policy name it by the digest that the push tells: REGISTRY/dativo/plugin-runner@sha256:…
ARG PYTHON

FROM ${PYTHON} AS build
ARG PYTHON
ARG PYTHON_VERSION=3.11
RUN case "${PYTHON}" in *@sha256:*) ;; *) echo "PYTHON has to be pinned by its digest" >&2; exit 1 ;; esac
RUN python -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '${PYTHON_VERSION}')"
COPY . /source
RUN pip install --no-cache-dir --constraint /source/constraints.txt /source/sdk numpy packaging \
  && python /source/deploy/images/plugin_runner.py --rootfs /rootfs.tar \
  && mkdir /rootfs && tar -xf /rootfs.tar -C /rootfs

FROM scratch
ARG PYTHON_VERSION=3.11
ARG ABI=cpython-311-x86_64-linux-gnu
COPY --from=build /rootfs/ /
LABEL io.dativo.plugin-runner=1 io.dativo.python=${PYTHON_VERSION} io.dativo.abi=${ABI}
ENV PATH=/usr/local/bin LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
WORKDIR /job
USER 65532:65532
