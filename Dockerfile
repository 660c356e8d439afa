# The engine in a container: slim, not root. SoftHSM is inside for a trial; a real token's library comes by mount.
#
#   docker build -t signing-engine .
#   docker run --rm -p 127.0.0.1:8080:8080 -v engine:/data signing-engine                            # trial
#   docker run --rm -p 127.0.0.1:8080:8080 -v ./conf:/data -v /opt/vendor:/opt/vendor:ro \
#     signing-engine serve --config /data/engine.toml --host 0.0.0.0                                 # real
#
# In the second, engine.toml names module = "/opt/vendor/…", a library that runs on Debian 12, and the mounted folders
# are readable, /data writable, for user 10001.

FROM debian:bookworm-slim AS build
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv
COPY . /opt/engine
RUN python3 -m venv /opt/engine/.venv \
 && /opt/engine/.venv/bin/pip install --quiet --no-cache-dir --editable /opt/engine

FROM debian:bookworm-slim
RUN apt-get -qq update \
 && apt-get -qq install -y --no-install-recommends python3 softhsm2 openssl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin engine \
 && install -d -o engine -g engine -m 0700 /data
COPY --from=build /opt/engine /opt/engine
ENV PATH="/opt/engine/.venv/bin:$PATH" PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --start-period=30s CMD ["python", "-c", \
  "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/health/ready', timeout=3)"]
ENTRYPOINT ["signing-engine"]
CMD ["trial", "--data", "/data", "--host", "0.0.0.0", "--port", "8080"]
