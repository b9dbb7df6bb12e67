# kdpipe with the packages that envs/ pins:
#
#   docker build --tag kdpipe .
#   docker run --rm --volume "$PWD:/work" --user "$(id -u):$(id -g)" kdpipe \
#     kdpipe snakemake study.yaml --cores 2
#
# Without GPUs, name PyTorch's index of packages for CPUs, and the image is several GB smaller:
#
#   docker build --tag kdpipe --build-arg PIP_EXTRA_INDEX_URL=INDEX .
FROM python:3.11-slim-bookworm

# Snakemake's own library for git does not load without the program.
RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*

ARG PIP_EXTRA_INDEX_URL=""
# The packages first: they are built again only if a pin changes.
COPY envs/requirements.txt envs/constraints.txt /opt/kdpipe/envs/
RUN pip install --no-cache-dir \
    -r /opt/kdpipe/envs/requirements.txt -c /opt/kdpipe/envs/constraints.txt

COPY pyproject.toml README.md LICENSE Snakefile config.yaml /opt/kdpipe/
COPY envs /opt/kdpipe/envs
COPY profiles /opt/kdpipe/profiles
COPY rules /opt/kdpipe/rules
COPY studies /opt/kdpipe/studies
COPY kdpipe /opt/kdpipe/kdpipe
RUN pip install --no-cache-dir --no-deps /opt/kdpipe

# Caches of Snakemake and matplotlib go to the home folder, which the user of --user does not have.
ENV HOME=/tmp
USER 1000
WORKDIR /work
CMD ["kdpipe", "--help"]
