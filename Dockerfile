# recctl with the CPU build of PyTorch, for the commands in docs/guides/containers.md.
#
#   docker build --tag recctl .
#   docker run --rm --volume "$PWD:/project" recctl train recctl.yaml

FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY recctl recctl
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
# Extras to install, as [onnx,mlflow].
ARG EXTRAS=
# Torch comes first and alone: its index has CPU builds of it, but not of all packages of constraints.txt.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /tmp/
COPY --from=build /wheels /tmp/wheels
RUN pip install --no-cache-dir --no-deps --index-url "$TORCH_INDEX" "$(grep '^torch==' /tmp/constraints.txt)" \
    && pip install --no-cache-dir --constraint /tmp/constraints.txt "$(echo /tmp/wheels/*.whl)$EXTRAS" \
    && rm -r /tmp/wheels /tmp/constraints.txt

# The id of the user who owns mounted folders; most systems give 1000 to their first user.
ARG UID=1000
RUN useradd --create-home --uid "$UID" recctl \
    && install --directory --owner=recctl --group=recctl /project /home/recctl/data
USER recctl
ENV RECCTL_DATA_HOME=/home/recctl/data
# By the user who runs recctl: compiled kernels of another user are ignored.
RUN recctl warmup
WORKDIR /project
ENTRYPOINT ["recctl"]
CMD ["--help"]
