# What the pod's preStop runs, so that no request is cut off when Envoy is stopped: at SIGTERM it ends at once, and with it
# what is in flight. The image has no curl.
ask() {
  exec 3<>/dev/tcp/127.0.0.1/9901
  printf '%s %s HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n' "$1" "$2" >&3
  cat <&3
}

# From now on each answer asks its client to connect anew (connection: close, GOAWAY), which then reaches another pod.
ask POST /healthcheck/fail
# Until the endpoint has gone everywhere, new connections still come.
sleep 5
# WebSockets and long downloads count as requests, too; the deployment's timeout bounds the wait. An Envoy that is gone
# is not waited for.
while active=$(ask GET '/stats?filter=^http\.http\.downstream_rq_active$') && [[ $active == *rq_active:\ [1-9]* ]]; do
  sleep 0.2
done
