# The studio in a container: `docker build -t esm_viz .`, see docs/install.md. Two stages, so that neither pip's cache nor
# the sources are in the image.
FROM python:3.11-slim AS build
WORKDIR /source
COPY . .
RUN python -m venv --without-pip /opt/esm_viz \
    && python -m pip --python /opt/esm_viz/bin/python install --no-cache-dir --disable-pip-version-check .

FROM python:3.11-slim
COPY --from=build /opt/esm_viz /opt/esm_viz
# All that is ever written lies in this one folder, so that everything else may be read-only.
RUN useradd --uid 1000 --no-create-home --home-dir /data studio && mkdir /data && chown 1000:1000 /data && chmod 700 /data
ENV PATH=/opt/esm_viz/bin:$PATH HOME=/data TMPDIR=/data PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
VOLUME /data
WORKDIR /data
USER 1000
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "-c", "import urllib.request as ask; ask.urlopen('http://127.0.0.1:7860/join/here', timeout=8)"]
ENTRYPOINT ["esm-viz", "app", "--host", "0.0.0.0", "--state", "/data/state"]
