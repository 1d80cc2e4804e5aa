package sighting

import (
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/outage"
)

// watched are the devices of homes whose alert was suppressed a short time ago. The zero value is
// empty and ready.
type watched struct {
	devices atomic.Int64 // how many; 0 in most of the day, and then nothing else is looked at
	shards  [64]watchShard
}

type watchShard struct {
	mu sync.Mutex // guards of; never held for longer than a look at it, or while one shard expires
	of map[outage.DeviceID]watch
}

// watch says that a device counts if it is heard after an instant, for WatchFor. A campaign has a million.
type watch struct {
	hub  outage.DeviceID
	from int64 // in microseconds since 1970
}

func (w watch) until() int64 { return w.from + WatchFor.Microseconds() }

func (w *watched) shard(device outage.DeviceID) *watchShard {
	return &w.shards[uint64(device)*0x9e3779b97f4a7c15>>58]
}

func (w *watched) add(device outage.DeviceID, x watch) {
	sh := w.shard(device)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.of == nil {
		sh.of = map[outage.DeviceID]watch{}
	}
	if _, ok := sh.of[device]; !ok {
		w.devices.Add(1)
	}
	sh.of[device] = x
}

// heard returns the hub of a device that counts, and forgets the device: only the first message
// after an outage matters.
func (w *watched) heard(device outage.DeviceID, at time.Time) (hub outage.DeviceID, ok bool) {
	if w.devices.Load() == 0 {
		return 0, false
	}
	us := at.UnixMicro()
	sh := w.shard(device)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	x, ok := sh.of[device]
	if !ok || us <= x.from {
		return 0, false
	}
	delete(sh.of, device)
	w.devices.Add(-1)
	return x.hub, us < x.until()
}

// waits returns the hub of a device that counts, as heard does, and forgets nothing.
func (w *watched) waits(device outage.DeviceID, at time.Time) outage.DeviceID {
	if w.devices.Load() == 0 {
		return 0
	}
	sh := w.shard(device)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if x, ok := sh.of[device]; ok && x.from < at.UnixMicro() && at.UnixMicro() < x.until() {
		return x.hub
	}
	return 0
}

// expire forgets the devices whose time is over.
func (w *watched) expire(now time.Time) {
	us := now.UnixMicro()
	for i := range w.shards {
		sh := &w.shards[i]
		sh.mu.Lock()
		for device, x := range sh.of {
			if x.until() <= us {
				delete(sh.of, device)
				w.devices.Add(-1)
			}
		}
		sh.mu.Unlock()
	}
}
