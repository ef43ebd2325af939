# An image that segments /input into /output with the model in /model, offline and not as root.
#
#   docker build -t swin-unetr .                                        CPU, with OpenVINO
#   docker build -t swin-unetr --build-arg TORCH_INDEX=https://pypi.org/simple --build-arg EXTRAS=dicom .    GPU
#   docker run --rm --network none --user 1000 -v MODEL:/model:ro -v SCANS:/input:ro -v RESULTS:/output swin-unetr
#
# Further words are options of `predict`, or another command: `docker run … swin-unetr doctor /input --output /output`.
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=openvino,dicom

WORKDIR /opt/swin-unetr
COPY constraints.txt pyproject.toml setup.py MANIFEST.in package.json package-lock.json LICENSE README.md ./
COPY swin_unetr swin_unetr
COPY pretrain pretrain
COPY finetune finetune
COPY transforms transforms
COPY scripts scripts
RUN python -m pip install --no-cache-dir -c constraints.txt --index-url ${TORCH_INDEX} torch
RUN python -m pip install --no-cache-dir -c constraints.txt ".[${EXTRAS}]"
RUN useradd --create-home --uid 1000 user && mkdir /model /input /output && chown user /output

USER user
ENV HF_HUB_OFFLINE=1 MPLCONFIGDIR=/tmp XDG_CACHE_HOME=/tmp/cache
ENTRYPOINT ["sh", "/opt/swin-unetr/scripts/container.sh"]
