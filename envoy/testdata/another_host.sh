# Runs in a network namespace of its own: another_host.sh ENVOY EXTAUTHZ CONFIG. The backend is in a second namespace, so
# that it is on another host as far as routing goes. Prints what a client gets.
set -e
ip link set lo up
unshare -n sh -c 'read go; ip link set lo up; ip addr add 10.99.0.2/24 dev inner; ip link set inner up
  exec python3 -c "
from http.server import *
class H(BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.send_header(\"content-length\", \"6\"); self.end_headers(); self.wfile.write(b\"served\")
HTTPServer((\"10.99.0.2\", 8000), H).serve_forever()"' < <(
  until [ -e go ]; do sleep 0.05; done; echo go) > backend.log 2>&1 &
backend=$!
trap 'kill $(jobs -p) 2> /dev/null' EXIT
# The child has a namespace of its own once its link differs from ours.
until [ "$(readlink /proc/$backend/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link add outer type veth peer name inner netns $backend
ip addr add 10.99.0.1/24 dev outer
ip link set outer up
touch go
# It allows everything: no issuer and no token are needed to see whether a request gets through.
BETTER_AUTH_URL=http://127.0.0.1:1 API_AUDIENCE=a EXTAUTHZ_SHADOW=report EXTAUTHZ_LISTEN=127.0.0.1:9191 \
  EXTAUTHZ_ADMIN_LISTEN=127.0.0.1:9192 "$2" serve > extauthz.log 2>&1 &
"$1" -c "$3" --disable-hot-restart --concurrency 1 --log-level error > envoy.log 2>&1 &
for attempt in $(seq 100); do # for as long as nothing but a connection is missing
  answer=$(curl --silent --max-time 5 --write-out ' %{http_code}' http://127.0.0.1:8080/) || true
  [ "$answer" = 'served 200' ] && break
  sleep 0.1
done
echo "$answer"
