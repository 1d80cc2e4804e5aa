package passed

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
)

// MaxNotes is how many notes a node has in memory at most, in 280 MB. When a shard has its part of
// them, the oldest quarter of the shard goes.
const MaxNotes = 1 << 24

const (
	shards   = 4096
	shardMax = MaxNotes / shards
	leastCap = 16
)

// set is a hash table of notes, in shards that are locked and grow one by one. So nobody waits for
// more than one shard, which has a four thousandth of the notes. The tables have no pointers: the
// garbage collector does not look into them.
type set struct {
	seed   uint64 // odd; at random, so that nobody can choose keys that meet in one place
	shards [shards]shard
}

// shard is a table with open addressing. A key is in the first free place from its own on.
type shard struct {
	mu    sync.Mutex // guards the next fields
	keys  []uint64   // 0: free
	facts []fact
	used  int
}

func newSet() *set { return &set{seed: rand.Uint64() | 1} }

// place returns which shard a key is in, and the key's hash in it.
func (s *set) place(key uint64) (shard int, hash uint64) {
	h := key * s.seed
	return int(h >> 52), h << 12
}

// find returns where a key is, or the free place where it would be. The table must have one.
func (sh *shard) find(key, hash uint64) int {
	hi, _ := bits.Mul64(hash, uint64(len(sh.keys)))
	for i := int(hi); ; {
		if k := sh.keys[i]; k == key || k == 0 {
			return i
		}
		if i++; i == len(sh.keys) {
			i = 0
		}
	}
}

// add adds a note. If the key has one already, that stays. It returns how many others went, since
// there was no room.
func (s *set) add(key uint64, f fact) (gone int) {
	key = max(key, 1)
	i, hash := s.place(key)
	sh := &s.shards[i]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return s.insert(sh, key, hash, f)
}

// insert is add for the shard of the key, which is locked.
func (s *set) insert(sh *shard, key, hash uint64, f fact) (gone int) {
	if sh.used == shardMax || sh.used+sh.used/4 >= len(sh.keys) { // or four places of five are taken
		gone = s.grow(sh)
	}
	if i := sh.find(key, hash); sh.keys[i] == 0 {
		sh.keys[i], sh.facts[i] = key, f
		sh.used++
	}
	return gone
}

// addAll adds the notes of rows. It sorts many by their shards first: a shard is small enough for
// the processor's cache, and all of them together are not. It returns what add returns.
func (s *set) addAll(rows [][]byte) (gone int) {
	var ends [shards]int // of each shard's notes, in the order of the shards
	total := 0
	each := func(do func(i int, key, hash uint64, f fact)) {
		for _, row := range rows {
			for n := range len(row) / noteSize {
				key, f := noteAt(row, n)
				key = max(key, 1)
				i, hash := s.place(key)
				do(i, key, hash, f)
			}
		}
	}
	each(func(i int, _, _ uint64, _ fact) { ends[i]++; total++ })
	if total < shards {
		each(func(_ int, key, _ uint64, f fact) { gone += s.add(key, f) })
		return gone
	}
	next, sum := [shards]int{}, 0
	for i, n := range ends {
		next[i] = sum
		sum += n
		ends[i] = sum
	}
	keys, facts := make([]uint64, total), make([]fact, total)
	each(func(i int, key, _ uint64, f fact) {
		keys[next[i]], facts[next[i]] = key, f
		next[i]++
	})
	begin := 0
	for i, end := range ends {
		sh := &s.shards[i]
		sh.mu.Lock()
		for n := begin; n < end; n++ {
			_, hash := s.place(keys[n])
			gone += s.insert(sh, keys[n], hash, facts[n])
		}
		sh.mu.Unlock()
		begin = end
	}
	return gone
}

// of returns the note of a key.
func (s *set) of(key uint64) (f fact, ok bool) {
	key = max(key, 1)
	i, hash := s.place(key)
	sh := &s.shards[i]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.used == 0 {
		return 0, false
	}
	at := sh.find(key, hash)
	return sh.facts[at], sh.keys[at] != 0
}

// len returns how many notes there are.
func (s *set) len() (n int) {
	for i := range s.shards {
		s.shards[i].mu.Lock()
		n += s.shards[i].used
		s.shards[i].mu.Unlock()
	}
	return n
}

// expire removes the notes of alerts that were received before a minute, and gives their memory
// back. It returns how many there were.
func (s *set) expire(before fact) (n int) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		n += s.drop(sh, before)
		sh.mu.Unlock()
	}
	return n
}

// drop is expire for one shard.
func (s *set) drop(sh *shard, before fact) (old int) {
	for i, k := range sh.keys {
		if k != 0 && sh.facts[i].minute() < before {
			old++
		}
	}
	if old > 0 {
		s.rebuild(sh, sh.used-old, func(f fact) bool { return f.minute() >= before })
	}
	return old
}

// grow makes room for another note: in a larger table, or by dropping the oldest quarter.
func (s *set) grow(sh *shard) (gone int) {
	if sh.used < shardMax {
		more := sh.used / 2
		if sh.used >= shardMax/4 {
			more = sh.used / 5 // in a large table, room that is not used costs more than copies
		}
		s.rebuild(sh, min(sh.used+more+1, shardMax), func(fact) bool { return true })
		return 0
	}
	minutes := make([]fact, 0, sh.used)
	for i, k := range sh.keys {
		if k != 0 {
			minutes = append(minutes, sh.facts[i].minute())
		}
	}
	slices.Sort(minutes)
	gone = len(minutes) / 4
	last := minutes[gone-1]                        // of the minutes that go
	first, _ := slices.BinarySearch(minutes, last) // how many are earlier
	ofLast := gone - first                         // how many go of that minute
	s.rebuild(sh, sh.used-gone, func(f fact) (keep bool) {
		if f.minute() == last && ofLast > 0 {
			ofLast--
			return false
		}
		return f.minute() >= last
	})
	return gone
}

// rebuild makes a new table with room for n notes and some more, from those that keep chooses.
func (s *set) rebuild(sh *shard, n int, keep func(fact) bool) {
	keys, facts := sh.keys, sh.facts
	size := 0
	if n > 0 {
		size = max(n+n/4+n/16+1, leastCap)
	}
	sh.keys, sh.facts, sh.used = make([]uint64, size), make([]fact, size), 0
	for i, k := range keys {
		if k == 0 || !keep(facts[i]) {
			continue
		}
		_, hash := s.place(k)
		at := sh.find(k, hash)
		sh.keys[at], sh.facts[at] = k, facts[i]
		sh.used++
	}
}
