package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"extauthz/extauthz/internal/session/redis/redisurl"
	"extauthz/extauthz/internal/session/redis/resp"
)

// FindMaster asks all Sentinels at once for the master's address. Where they differ, as while one of them is cut off
// together with the former master, the one counts whose configuration is the latest (config-epoch).
func FindMaster(ctx context.Context, o *redisurl.Options) (address string, err error) {
	type said struct {
		address string
		epoch   int64
		err     error
	}
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	all := make(chan said, len(o.Hosts))
	for _, host := range o.Hosts {
		go func() {
			address, epoch, err := askSentinel(ctx, o, host)
			all <- said{address, epoch, err}
		}()
	}
	latest := int64(-1)
	for range o.Hosts {
		one := <-all
		switch {
		case one.err != nil:
			err = one.err
		case one.epoch > latest:
			address, latest = one.address, one.epoch
		}
	}
	if address == "" {
		return "", fmt.Errorf("no Sentinel says where the master %q is: %w", o.Master, err)
	}
	return address, nil
}

func askSentinel(ctx context.Context, o *redisurl.Options, host string) (address string, epoch int64, err error) {
	network, err := Dial(ctx, o, host)
	if err != nil {
		return "", 0, err
	}
	defer network.Close()
	defer context.AfterFunc(ctx, func() { network.Close() })()
	c := resp.New(network)
	if err := LogIn(c, o.Sentinel, 0); err != nil {
		return "", 0, Readable(err)
	}
	v, err := c.Do("SENTINEL", "MASTER", o.Master)
	if err != nil {
		return "", 0, Readable(err)
	}
	fields := map[string]string{}
	for pair := range slices.Chunk(v.Array, 2) {
		if len(pair) == 2 {
			fields[pair[0].Text] = pair[1].Text
		}
	}
	epoch, err = strconv.ParseInt(fields["config-epoch"], 10, 64)
	if err != nil || fields["ip"] == "" || fields["port"] == "" {
		return "", 0, errors.New("a Sentinel's answer has no ip, port or config-epoch")
	}
	return net.JoinHostPort(fields["ip"], fields["port"]), epoch, nil
}
