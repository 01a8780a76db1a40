package main

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
)

// README.md names the ports that the demo listens on.
func TestReadmeNamesThePorts(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	sentence := regexp.MustCompile(`It listens on ports ([^.]*) of 127\.0\.0\.1`).FindStringSubmatch(strings.Join(strings.Fields(string(readme)), " "))
	if sentence == nil {
		t.Fatal("README.md does not name the ports")
	}
	named := map[string]bool{}
	for _, port := range regexp.MustCompile(`\d+`).FindAllString(sentence[1], -1) {
		named[port] = true
	}
	for _, port := range usualPorts.all() {
		if !named[fmt.Sprint(port)] {
			t.Errorf("README.md does not name %d", port)
		}
		delete(named, fmt.Sprint(port))
	}
	if len(named) > 0 {
		t.Errorf("README.md names %v, on which nothing listens", named)
	}
}

// Every port that is taken is named at once, and none that is free.
func TestTakenPortsAreNamed(t *testing.T) {
	free, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	for tries := 0; free.taken() != nil; tries++ { // something else of a busy machine may have come in between
		if tries == 10 {
			t.Fatalf("nothing listens, and yet: %v", free.taken())
		}
		if free, err = freePorts(); err != nil {
			t.Fatal(err)
		}
	}
	for _, port := range []int{free.envoy, free.admin} {
		listener, err := net.Listen("tcp", loopback(port))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
	}
	want := "the demo needs " + loopback(free.envoy) + ", " + loopback(free.admin) + ","
	if err := free.taken(); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s …", err, want)
	}
}
