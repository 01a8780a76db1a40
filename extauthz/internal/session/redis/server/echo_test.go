package server_test

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"extauthz/extauthz/internal/session/redis/redisurl"
	"extauthz/extauthz/internal/session/redis/resp"
	"extauthz/extauthz/internal/session/redis/server"
)

// A server that does not know a command, as one where it is renamed, or a proxy, repeats its arguments: the password of
// AUTH, the token in a key. No error shows them.
func TestEchoedArgumentsAreNotShown(t *testing.T) {
	for _, reply := range []string{
		"-ERR unknown command 'AUTH', with args beginning with: 'user' 'hunter2' \r\n",
		"-ERR unknown command `AUTH`, with args beginning with: `user`, `hunter2`, \r\n",
		"-ERR no such thing: AUTH user hunter2\r\n",
		"-hunter2\r\n",
	} {
		ours, theirs := net.Pipe()
		go func() {
			bufio.NewReader(theirs).Peek(1) // a pipe keeps the write waiting until it is read whole, and the buffer takes it whole
			theirs.Write([]byte(reply))
			theirs.Close()
		}()
		err := server.Readable(server.LogIn(resp.New(ours), redisurl.Login{User: "user", Password: "hunter2"}, 0))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", reply, err)
		}
		ours.Close()
	}
	err := server.Readable(resp.Error("ERR unknown command 'GET', with args beginning with: 'better-auth:TOKEN' "))
	if strings.Contains(err.Error(), "TOKEN") || !strings.Contains(err.Error(), "unknown command 'GET'") {
		t.Error(err)
	}
}
