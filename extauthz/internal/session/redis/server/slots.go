package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"extauthz/extauthz/internal/session/redis/redisurl"
	"extauthz/extauthz/internal/session/redis/resp"
)

// Slots is how many parts the keys of a Cluster are in.
const Slots = 16384

// SlotRange is a master's run of slots.
type SlotRange struct {
	First, Last int
	Master      string // host:port
}

// AskSlots asks the node at an address who has which slot.
func AskSlots(ctx context.Context, o *redisurl.Options, address string) ([]SlotRange, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	network, err := Dial(ctx, o, address)
	if err != nil {
		return nil, err
	}
	defer network.Close()
	defer context.AfterFunc(ctx, func() { network.Close() })()
	conn := resp.New(network)
	if err := LogIn(conn, o.Login, 0); err != nil {
		return nil, Readable(err)
	}
	v, err := conn.Do("CLUSTER", "SLOTS")
	if err != nil {
		return nil, Readable(err)
	}
	host, _, _ := net.SplitHostPort(address)
	return readSlots(v, host)
}

var (
	errSlots = errors.New("an answer to CLUSTER SLOTS that cannot be read")
)

// readSlots reads the answer of a host. A node that does not know its own name stands for the one that was asked.
func readSlots(v resp.Value, host string) (ranges []SlotRange, err error) {
	for _, entry := range v.Array {
		if len(entry.Array) < 3 || len(entry.Array[2].Array) < 2 {
			return nil, errSlots
		}
		var r SlotRange
		master := entry.Array[2].Array
		name, port := master[0].Text, master[1].Text
		if name == "" || name == "?" {
			name = host
		}
		_, err1 := fmt.Sscan(entry.Array[0].Text, &r.First)
		_, err2 := fmt.Sscan(entry.Array[1].Text, &r.Last)
		if err1 != nil || err2 != nil || r.First < 0 || r.Last >= Slots || r.First > r.Last {
			return nil, errSlots
		}
		r.Master = net.JoinHostPort(name, port)
		ranges = append(ranges, r)
	}
	if len(ranges) == 0 {
		return nil, errors.New("the Cluster has no slots yet")
	}
	return ranges, nil
}

// SlotOf is the slot of a key: CRC16 of it, or of what stands between its first { and the next }.
func SlotOf(key string) int {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if length := strings.IndexByte(key[open+1:], '}'); length > 0 {
			key = key[open+1 : open+1+length]
		}
	}
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021 // CRC-16/XMODEM
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % Slots)
}
