package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"extauthz/envoy/parts"
)

// ports are those of 127.0.0.1 that the demo listens on.
type ports struct{ envoy, checks, admin, envoyAdmin, issuer, other, otherAdmin int }

// usualPorts are what envoy.yaml beside this file has, and extauthz's own defaults.
var usualPorts = ports{envoy: 8080, checks: 9191, admin: 9192, envoyAdmin: 9901, issuer: 3000, other: 8081,
	otherAdmin: 9902}

func freePorts() (p ports, err error) {
	for _, port := range []*int{&p.envoy, &p.checks, &p.admin, &p.envoyAdmin, &p.issuer, &p.other, &p.otherAdmin} {
		if *port, err = parts.FreePort(); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p ports) all() []int {
	return []int{p.envoy, p.checks, p.admin, p.envoyAdmin, p.issuer}
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// taken is an error that names every port on which something else listens.
func (p ports) taken() error {
	var taken []string
	for _, port := range p.all() {
		listener, err := net.Listen("tcp", loopback(port))
		if err != nil {
			taken = append(taken, loopback(port))
			continue
		}
		listener.Close()
	}
	if len(taken) > 0 {
		return fmt.Errorf("the demo needs %s, which cannot be listened on; stop what does (ss -ltnp)",
			strings.Join(taken, ", "))
	}
	return nil
}

// in puts the ports into a configuration that has the usual ones.
func (p ports) in(config string) string {
	var pairs []string
	for _, pair := range [][2]int{{usualPorts.envoy, p.envoy}, {usualPorts.checks, p.checks},
		{usualPorts.envoyAdmin, p.envoyAdmin},
		{usualPorts.issuer, p.issuer}} {
		pairs = append(pairs, fmt.Sprintf("port_value: %d ", pair[0]), fmt.Sprintf("port_value: %d ", pair[1]))
	}
	return strings.NewReplacer(pairs...).Replace(config)
}

// What a first run writes into .parts/, measured, in MiB: with the front end, and without it.
const (
	sizeWithWeb = 950
	sizeOfAPI   = 370
)

// roomFor is an error where the disk has no room for what is still to be installed, and half as much again for what is
// unpacked on the way.
func roomFor(installer *parts.Installer, web bool) error {
	size, last := uint64(sizeOfAPI), "issuer"
	if web {
		size, last = sizeWithWeb, "web"
	}
	folder := filepath.Join(installer.Root(), ".parts")
	if _, err := os.Stat(filepath.Join(folder, last, ".installed")); !errors.Is(err, fs.ErrNotExist) {
		return nil // it was all there once; what a new version changes is small
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(installer.Root(), &disk); err != nil {
		return nil // that it cannot be known is no reason not to try
	}
	if free := disk.Bavail * uint64(disk.Bsize) >> 20; free < size*3/2 {
		return fmt.Errorf("the first run wants %d MiB for %s, and the disk has %d left", size*3/2, folder, free)
	}
	fmt.Printf("the first run installs %d MiB into .parts/, in some minutes; later ones start in seconds\n", size)
	return nil
}
