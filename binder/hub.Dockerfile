# The image of a JupyterHub user (DockerSpawner, KubeSpawner), from a fresh clone: git clone URL onnx-workbench, then
#     docker build -f onnx-workbench/binder/hub.Dockerfile -t workbench onnx-workbench
# The tag of Python names Debian 12 too; NengoDL needs Python 3.11.
FROM python:3.11-slim-bookworm

# git is what nbgitpuller pulls with.
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*

# The packages of environment.yml, as Binder gets them; repo2docker would name the folder of the environment.
COPY . /srv/onnx-workbench
WORKDIR /srv/onnx-workbench
RUN NB_PYTHON_PREFIX=/usr/local bash binder/postBuild

# JupyterHub in the image must be of the hub's own major version: `jupyterhub --version` there says which.
ARG JUPYTERHUB=5
RUN pip install --no-cache-dir "jupyterhub==${JUPYTERHUB}.*" "nbgitpuller==1.*"

# JupyterHub mounts a student's own storage over /home/jovyan.
RUN useradd --create-home --uid 1000 jovyan
USER jovyan
WORKDIR /home/jovyan
CMD ["jupyterhub-singleuser", "--ip=0.0.0.0"]
