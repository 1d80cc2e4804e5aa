package rig

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

// Postgres is a PostgreSQL server with a database for quell.
type Postgres struct {
	*Process
	Bin, Dir, URL string
}

// StartPostgres starts a server in a folder of its own, on a socket there. fsync is on.
func (r *Rig) StartPostgres() (*Postgres, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return nil, errors.New("there is no PostgreSQL; on Debian it is in postgresql")
	}
	p := &Postgres{Bin: filepath.Dir(slices.Max(found))}
	var err error
	if p.Dir, err = r.folder("postgres"); err != nil {
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
		if err := os.Chown(p.Dir, uid, gid); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(p.Dir, "data")
	initdb := exec.CommandContext(r.Ctx, filepath.Join(p.Bin, "initdb"), "-D", data, "-A", "trust", "-U", "quell", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = &syscall.SysProcAttr{Credential: as}, p.Dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	p.Process, err = r.Start(p.Dir, "postgres", syscall.SIGQUIT, as, filepath.Join(p.Bin, "postgres"), "-D", data, "-k", p.Dir, "-c", "listen_addresses=", "-c", "max_connections=200")
	if err != nil {
		return nil, err
	}
	p.URL = "postgres:///quell?user=quell&host=" + p.Dir
	for until := time.Now().Add(time.Minute); ; {
		out, err := exec.CommandContext(r.Ctx, filepath.Join(p.Bin, "createdb"), "-h", p.Dir, "-U", "quell", "quell").CombinedOutput()
		if err == nil {
			return p, nil
		}
		if time.Now().After(until) || r.Ctx.Err() != nil {
			return nil, fmt.Errorf("createdb: %w: %s", err, out)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
