# sightsound and Ray on NVIDIA GPUs:
#
#   docker build -f configs/docker/cuda.Dockerfile -t sightsound:cuda .
#   docker run --rm --gpus all -v "$PWD":/data sightsound:cuda analyze clip.mp4 \
#       --config /opt/sightsound/configs/gpu.yaml
#
# The host has NVIDIA's driver (one for the CUDA of the torch wheels) and container toolkit. Needs
# BuildKit, which Docker 23 and later use by themselves.

# Not one of NVIDIA's images: torch's wheels bring CUDA, and Ray wants the same Python, to the
# patch, as in cpu.Dockerfile on all nodes of a cluster.
ARG PYTHON_IMAGE=python:3.12.12-slim-trixie

FROM ${PYTHON_IMAGE} AS wheel
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM ${PYTHON_IMAGE}
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1
# What NVIDIA's container toolkit hands in.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Ray's cluster launcher copies files with rsync, and the head node reaches the others over SSH.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends openssh-client rsync \
    && rm -rf /var/lib/apt/lists/*

# The largest layer, some GB: torch with CUDA.
RUN pip install "torch>=2.11" "torchvision>=0.26" "torchaudio>=2.11"

# Ray's version is that of every node and driver; boto3 is for the launcher on AWS.
ARG RAY_VERSION=2.60.0
# A layer of its own for what the package needs, made anew only when pyproject.toml changes.
RUN --mount=type=bind,source=pyproject.toml,target=/tmp/pyproject.toml \
    python -c "import tomllib; \
print(*tomllib.load(open('/tmp/pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
    > /tmp/requirements.txt \
    && pip install -r /tmp/requirements.txt "ray[data,default]==${RAY_VERSION}" boto3 \
    && rm /tmp/requirements.txt

# HOME is set for Ray's launcher, which reads it from the image.
RUN useradd --create-home --uid 1000 sightsound
ENV HOME=/home/sightsound XDG_CACHE_HOME=/opt/sightsound/cache

RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps /wheels/*.whl \
    && install -d -o sightsound -m 777 /opt/sightsound/cache \
    && install -d -o sightsound /data
COPY configs/*.yaml /opt/sightsound/configs/

USER 1000
WORKDIR /data
ENTRYPOINT ["sightsound"]
CMD ["--help"]
