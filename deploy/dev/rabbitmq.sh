# RabbitMQ from Debian's package, as a node of our own: name, ports, cookie and folders.
RABBITMQ_PORT="${RABBITMQ_PORT:-5673}"
RABBITMQ_MANAGEMENT_PORT="${RABBITMQ_MANAGEMENT_PORT:-15673}"
rabbitmq_home="$SERVICES_DIR/rabbitmq"

# Debian's scripts drop root's rights and read /etc: the ones below them do neither.
rabbitmq_bin() { ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin 2>/dev/null | tail -1; }

rabbitmq_install() {
  [ -n "$(rabbitmq_bin)" ] && return
  # The package starts a node of its own unless it is told not to.
  local deny=/usr/sbin/policy-rc.d
  [ -e "$deny" ] || { printf '#!/bin/sh\nexit 101\n' >"$deny" && chmod +x "$deny" && trap "rm -f $deny" EXIT; }
  install_packages rabbitmq-server
}

rabbitmq_env() {
  mkdir -p "$rabbitmq_home"/{mnesia,log,home}
  cat >"$rabbitmq_home/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$RABBITMQ_PORT
management.tcp.ip = 127.0.0.1
management.tcp.port = $RABBITMQ_MANAGEMENT_PORT
distribution.listener.interface = 127.0.0.1
CONF
  echo "[rabbitmq_management]." >"$rabbitmq_home/enabled_plugins"
  export HOME="$rabbitmq_home/home" RABBITMQ_NODENAME="countersign_$RABBITMQ_PORT@localhost"
  export RABBITMQ_CONFIG_FILE="$rabbitmq_home/rabbitmq.conf" RABBITMQ_CONF_ENV_FILE=/dev/null
  export RABBITMQ_MNESIA_BASE="$rabbitmq_home/mnesia" RABBITMQ_LOG_BASE="$rabbitmq_home/log"
  export RABBITMQ_ENABLED_PLUGINS_FILE="$rabbitmq_home/enabled_plugins"
  export RABBITMQ_DIST_PORT="$((RABBITMQ_PORT + 20000))" RABBITMQ_PID_FILE="$rabbitmq_home/pid"
  export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$((RABBITMQ_PORT + 20001))"
}

# The port opens last, when the node is ready. Whoever's node it is, it will do.
rabbitmq_is_up() { (exec 3<>"/dev/tcp/127.0.0.1/$RABBITMQ_PORT") 2>/dev/null; }

rabbitmq_start() {
  if ! rabbitmq_is_up >/dev/null 2>&1; then
    (rabbitmq_env && exec setsid nohup "$(rabbitmq_bin)/rabbitmq-server" >"$rabbitmq_home/out" 2>&1 </dev/null) &
    wait_for 90 rabbitmq rabbitmq_is_up
  fi
  rabbitmq_status
}

rabbitmq_stop() {
  rabbitmq_is_up >/dev/null 2>&1 && (rabbitmq_env && "$(rabbitmq_bin)/rabbitmqctl" -q shutdown)
  (rabbitmq_env && epmd -kill >/dev/null 2>&1) || true
  echo "rabbitmq stopped"
}

rabbitmq_url() { echo "pika://guest:guest@127.0.0.1:$RABBITMQ_PORT/%2F"; }

rabbitmq_status() {
  if rabbitmq_is_up >/dev/null 2>&1; then echo "rabbitmq       $(rabbitmq_url)"; else echo "rabbitmq       stopped"; fi
}
