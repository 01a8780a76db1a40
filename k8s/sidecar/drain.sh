# For the pod's preStop: drains Envoy, which at SIGTERM ends at once and aborts requests in flight. The image has no
# curl.
ask() {
  exec 3<>/dev/tcp/127.0.0.1/9901
  printf '%s %s HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n' "$1" "$2" >&3
  cat <&3
}

# From now on each answer closes its connection (connection: close, GOAWAY), and the client's next one goes to another
# pod.
ask POST /healthcheck/fail
# New connections arrive until the endpoint is removed everywhere.
sleep 5
# WebSockets and long downloads count as requests, too; the deployment's timeout limits the wait. The wait ends if Envoy
# is gone.
while active=$(ask GET '/stats?filter=^http\.http\.downstream_rq_active$') && [[ $active == *rq_active:\ [1-9]* ]]; do
  sleep 0.2
done
