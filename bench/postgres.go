package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// postgres is a PostgreSQL server with a database for quell.
type postgres struct {
	*process
	bin, dir, url string
}

// startPostgres starts a server in a folder of its own, on a socket there. fsync is on.
func (r *rig) startPostgres() (*postgres, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return nil, errors.New("there is no PostgreSQL; on Debian it is in postgresql")
	}
	p := &postgres{bin: filepath.Dir(slices.Max(found))}
	var err error
	if p.dir, err = r.folder("postgres"); err != nil {
		return nil, err
	}
	var as *syscall.Credential
	if os.Getuid() == 0 { // as whom PostgreSQL does not run
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(p.dir, uid, gid); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(p.dir, "data")
	initdb := exec.CommandContext(r.ctx, filepath.Join(p.bin, "initdb"), "-D", data, "-A", "trust", "-U", "quell", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = &syscall.SysProcAttr{Credential: as}, p.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	p.process, err = r.start(p.dir, "postgres", syscall.SIGQUIT, as, filepath.Join(p.bin, "postgres"), "-D", data, "-k", p.dir, "-c", "listen_addresses=", "-c", "max_connections=200")
	if err != nil {
		return nil, err
	}
	p.url = "postgres:///quell?user=quell&host=" + p.dir
	for until := time.Now().Add(time.Minute); ; {
		out, err := exec.CommandContext(r.ctx, filepath.Join(p.bin, "createdb"), "-h", p.dir, "-U", "quell", "quell").CombinedOutput()
		if err == nil {
			return p, nil
		}
		if time.Now().After(until) || r.ctx.Err() != nil {
			return nil, fmt.Errorf("createdb: %w: %s", err, out)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
