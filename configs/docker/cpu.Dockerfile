# sightsound and Ray on CPU:  docker build -f configs/docker/cpu.Dockerfile -t sightsound:cpu .
#
#   docker run --rm -v "$PWD":/data sightsound:cpu analyze clip.mp4
#
# The networks are exported when the image is built, so that it runs without a network. Needs
# BuildKit, which Docker 23 and later use by themselves.

# Ray wants the same Python, to the patch, on all nodes: change it in cuda.Dockerfile as well.
ARG PYTHON_IMAGE=python:3.12.12-slim-trixie

FROM ${PYTHON_IMAGE} AS wheel
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM ${PYTHON_IMAGE}
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1

# Ray's cluster launcher copies files with rsync, and the head node reaches the others over SSH.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends openssh-client rsync \
    && rm -rf /var/lib/apt/lists/*

# With --build-arg TORCH_INDEX=URL, PyTorch's index of CPU wheels, the image is some GB smaller: the
# default wheels bring CUDA along.
ARG TORCH_INDEX=
RUN env ${TORCH_INDEX:+"PIP_INDEX_URL=$TORCH_INDEX"} pip install \
    "torch>=2.11" "torchvision>=0.26" "torchaudio>=2.11"

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
    && install -d -o sightsound /opt/sightsound/cache /data
COPY configs/*.yaml /opt/sightsound/configs/

USER 1000
# What OpenVINO compiles from the exports is for the processor here and goes; it is made anew in
# seconds. Anyone may write to the cache, for docker run --user.
RUN sightsound config show --set inference.engine=openvino \
    | python -c "from sightsound.pipeline.prepare import main; main()" \
    && rm -rf "$XDG_CACHE_HOME/sightsound/compiled" \
    && chmod -R a+rwX "$XDG_CACHE_HOME"

WORKDIR /data
ENTRYPOINT ["sightsound"]
CMD ["--help"]
