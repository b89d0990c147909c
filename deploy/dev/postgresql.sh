# PostgreSQL from Debian's package, as a cluster of our own. It refuses to run as root.
POSTGRESQL_PORT="${POSTGRESQL_PORT:-55432}"
postgresql_home="$SERVICES_DIR/postgresql"

postgresql_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }

postgresql_install() {
  [ -x "$(postgresql_bin)/initdb" ] && return
  # The package makes and starts a cluster of its own unless it is told not to.
  mkdir -p /etc/postgresql-common
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
  install_packages postgresql
}

postgresql_as_user() {
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

postgresql_is_up() { "$(postgresql_bin)/pg_isready" -q -h 127.0.0.1 -p "$POSTGRESQL_PORT"; }

postgresql_start() {
  if ! postgresql_is_up; then
    mkdir -p "$postgresql_home"
    if [ "$(id -u)" = 0 ]; then chown postgres "$postgresql_home"; fi
    [ -s "$postgresql_home/data/PG_VERSION" ] ||
      postgresql_as_user "$(postgresql_bin)/initdb" -D "$postgresql_home/data" -U postgres \
        --auth=trust --encoding=UTF8 --locale=C >/dev/null
    postgresql_as_user "$(postgresql_bin)/pg_ctl" -D "$postgresql_home/data" -l "$postgresql_home/log" \
      -o "-p $POSTGRESQL_PORT -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300" \
      start >/dev/null
    wait_for 60 postgresql postgresql_is_up
  fi
  postgresql_status
}

postgresql_stop() {
  if postgresql_is_up; then
    postgresql_as_user "$(postgresql_bin)/pg_ctl" -D "$postgresql_home/data" -m fast stop >/dev/null
  fi
  echo "postgresql stopped"
}

postgresql_url() { echo "postgresql+psycopg://postgres@127.0.0.1:$POSTGRESQL_PORT/postgres"; }

postgresql_status() {
  if postgresql_is_up; then echo "postgresql     $(postgresql_url)"; else echo "postgresql     stopped"; fi
}
