# Framewire on an NVIDIA GPU.
#
#   docker build -t framewire .
#   docker run --gpus all -p 50051:50051 -v ./models:/models:ro -v framewire-plans:/plans framewire
#
# TensorRT, CUDA and its compiler (for pycuda, which has no wheels) are those of NVIDIA's image, under NVIDIA's licence.
# The driver of the host must be new enough for it: docs/gpu.md. For a driver older than 580 take an image of CUDA 12, for
# example --build-arg BASE=nvcr.io/nvidia/tensorrt:25.06-py3 --build-arg CUDA=-cu12.
ARG BASE=nvcr.io/nvidia/tensorrt:25.10-py3

FROM ${BASE} AS build
# Empty, or -cu12: which wheels for CUDA graphs and JPEG decoding go with the image.
ARG CUDA=
# NVIDIA's images pin packages for their own frameworks, and none of those is used.
ENV PIP_CONSTRAINT= PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY client/python client/python
COPY server server
RUN python3 -m venv --system-site-packages /opt/framewire \
 && /opt/framewire/bin/pip install ".[system-tensorrt,graphs${CUDA},gpu-decode${CUDA}]"

FROM ${BASE}
COPY --from=build /opt/framewire /opt/framewire
RUN useradd --system --uid 10001 --create-home framewire \
 && install --directory --owner=framewire /models /plans
ENV PATH=/opt/framewire/bin:${PATH} \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video \
    FRAMEWIRE_LISTEN=0.0.0.0:50051 \
    FRAMEWIRE_DEVICE=cuda \
    FRAMEWIRE_MODELS_DIR=/models \
    FRAMEWIRE_PLAN_CACHE=/plans
USER framewire
VOLUME /plans
EXPOSE 50051
# Healthy once every model is there. At its first start a server may build plans for minutes.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30m CMD ["/opt/framewire/bin/python", "-c", "import grpc; from grpc_health.v1 import health_pb2 as h, health_pb2_grpc as s; a = s.HealthStub(grpc.insecure_channel('127.0.0.1:50051')).Check(h.HealthCheckRequest(), timeout=5); raise SystemExit(a.status != h.HealthCheckResponse.SERVING)"]
ENTRYPOINT ["framewire"]
CMD ["serve"]
