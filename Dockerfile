# genner with its bundled model. llama.cpp is built once for each generation of processors (GGML_CPU_ALL_VARIANTS), as
# libraries that are loaded (GGML_BACKEND_DL) from where genner_cli/engine/llama.py looks for them; none is built for the
# machine that builds (GGML_NATIVE), which may have what the one that runs has not.
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/genner
WORKDIR /src
COPY constraints.txt .
ENV CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON -DGGML_BACKEND_DIR:STRING=llama_cpp/lib -DLLAVA_BUILD=OFF"
RUN /opt/genner/bin/pip install --no-cache-dir --constraint constraints.txt llama-cpp-python
COPY pyproject.toml hatch_build.py README.md LICENSE NOTICE ./
COPY genner_cli genner_cli
COPY convert convert
RUN /opt/genner/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.12-slim
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/genner /opt/genner
ENV PATH="/opt/genner/bin:$PATH" XDG_CACHE_HOME=/tmp HF_HOME=/data/.cache/huggingface
WORKDIR /data
USER 1000
ENTRYPOINT ["genner"]
