# The only commands that people and CI need. `make demo` and `make test` set up what they use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GPU_VENV := .venv-gpu
GPU_EXTRAS ?= tensorrt graphs gpu-decode
KERNEL := server/framewire_server/engines/tensorrt/prepare
NVCC ?= nvcc
# Compute capabilities that get machine code; CUDA 13 has none older. Others take the PTX.
KERNEL_GPUS := 75 80 86 87 89 90 100 110 120
# What the PTX asks of the driver: its oldest version that knows compute capability 7.5 well (CUDA 10.1).
KERNEL_PTX := 6.4
PROTO_VENV := .build/proto-venv
PROTOS := framewire/v1/detection.proto framewire/v1/model.proto
STUBS := client/python
SOURCES := client/python/framewire server/framewire_server tests bench examples training

.PHONY: help demo test test-models test-long test-conformance test-system test-thin test-pythons kernel gpu-smoke check lint proto proto-check bench bench-live clean

help:  ## Lists the commands.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/.demo

demo: $(VENV)/.demo  ## Serves the bundled model, streams a clip to it, shows what was found.
	$(BIN)/framewire demo --output demo-output

test: $(VENV)/.dev  ## Runs all tests but the long ones and those that need system packages.
	$(BIN)/pytest -m 'not system and not models and not long and not gpu and not conformance'
	$(BIN)/pytest -q -m gpu tests/gpu --sim

test-models: $(VENV)/.dev  ## Runs real models over photographs: references, eval, models check.
	$(BIN)/pytest -m models

test-long: $(VENV)/.dev  ## Kills servers, exchanges models, tears links, searches for capacity; prints the seeds.
	$(BIN)/pytest -m long -s

test-system: $(VENV)/.dev  ## Runs the tests that need system packages (Node); says what it skips.
	$(BIN)/pytest -m system

test-conformance: $(VENV)/.dev  ## Compares what we use of TensorRT, pycuda and CUDA with the real bindings.
	$(BIN)/pytest -m conformance

test-thin:  ## Runs the client's tests in an environment without any extra.
	$(PYTHON) -m venv .build/thin-venv
	.build/thin-venv/bin/pip install --quiet --disable-pip-version-check . pytest pytest-asyncio pytest-timeout
	.build/thin-venv/bin/pytest tests/thin -p no:cacheprovider

test-pythons:  ## Runs the tests on every supported Python that is installed.
	bash tests/pythons.sh

# Every extra by itself: what cannot be installed is said, tried again the next time, and its tests are skipped. System packages are seen, since
# TensorRT may be one (Jetson, NVIDIA's images).
$(GPU_VENV)/.gpu: pyproject.toml
	$(PYTHON) -m venv --system-site-packages $(GPU_VENV)
	$(GPU_VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@all=yes; for extra in $(GPU_EXTRAS); do \
	  $(GPU_VENV)/bin/pip install --quiet --disable-pip-version-check -e ".[$$extra]" \
	  || { all=no; echo "gpu-smoke: the extra $$extra cannot be installed here: see docs/gpu.md"; }; \
	done; \
	if [ $$all = yes ]; then touch $@; fi

gpu-smoke: $(GPU_VENV)/.gpu  ## Checks the GPU path on a machine with an NVIDIA GPU, in under ten minutes.
	@$(GPU_VENV)/bin/framewire doctor; doctor=$$?; \
	$(GPU_VENV)/bin/pytest -m gpu -s tests/gpu --some; tests=$$?; \
	[ $$doctor -eq 0 ] || echo 'gpu-smoke: failed, since this machine is not ready to serve: see NO in the table above'; \
	[ $$tests -eq 0 ] || echo 'gpu-smoke: failed, since tests did, or since all of them were skipped: see above'; \
	[ $$doctor -eq 0 ] && [ $$tests -eq 0 ]

check: lint proto-check test test-conformance test-models test-long test-thin test-system test-pythons  ## All that CI checks.

lint: $(VENV)/.dev  ## Style, types, and the protocol's rules.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	@tag=$$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null); \
	if [ -n "$$tag" ]; then $(BIN)/buf breaking --against ".git#tag=$$tag"; \
	else echo 'buf breaking: no release tag yet, so nothing is frozen'; fi

$(PROTO_VENV)/.ready: proto/requirements.txt
	$(PYTHON) -m venv $(PROTO_VENV)
	$(PROTO_VENV)/bin/pip install --quiet --disable-pip-version-check -r proto/requirements.txt
	touch $@

proto: $(PROTO_VENV)/.ready  ## Generates the committed Python stubs.
	$(PROTO_VENV)/bin/python -m grpc_tools.protoc -Iproto \
	  --plugin=protoc-gen-mypy_grpc=$(PROTO_VENV)/bin/protoc-gen-mypy_grpc \
	  --python_out=$(STUBS) --pyi_out=$(STUBS) --grpc_python_out=$(STUBS) --mypy_grpc_out=quiet:$(STUBS) $(PROTOS)

proto-check: $(PROTO_VENV)/.ready
	rm -rf .build/stubs && mkdir -p .build/stubs/framewire/v1
	$(MAKE) --no-print-directory proto STUBS=.build/stubs
	diff -r -x __init__.py -x __pycache__ .build/stubs/framewire/v1 client/python/framewire/v1 \
	  || { echo 'the committed stubs are not those of proto/: run make proto'; exit 1; }

kernel:  ## Compiles the CUDA kernel, with the nvcc of CUDA 13.0; needs no GPU.
	$(NVCC) -std=c++17 -O3 -fatbin $(foreach gpu,$(KERNEL_GPUS),-gencode arch=compute_$(gpu),code=sm_$(gpu)) \
	  -Xfatbin -compress-all -o $(KERNEL).fatbin $(KERNEL).cu
	$(NVCC) -std=c++17 -O3 -ptx -arch=compute_75 -o $(KERNEL).ptx $(KERNEL).cu
	sed -i 's/^\.version .*/.version $(KERNEL_PTX)/' $(KERNEL).ptx
	$(NVCC) -cubin -arch=sm_75 -o /dev/null $(KERNEL).ptx
	cd $(dir $(KERNEL)) && sha256sum prepare.cu prepare.fatbin prepare.ptx > prepare.sha256

bench: $(VENV)/.dev  ## Measures the server against ceilings of the same run.
	$(BIN)/python -m bench.edge
	$(BIN)/python -m bench.throughput

bench-live: $(VENV)/.dev  ## Measures overload and a thousand connections, about half an hour.
	$(BIN)/python -m bench.overload
	$(BIN)/python -m bench.connections

clean:  ## Removes everything that these commands made.
	rm -rf $(VENV) $(GPU_VENV) .build demo-output
