package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// file is one file or folder that is shipped, with its places; an empty place is
// none.
type file struct {
	tarball string // below the tarball's folder
	deb     string // absolute
	rpm     string
	mode    fs.FileMode // with fs.ModeDir for a folder
	config  bool        // the operator's to change
	data    []byte
}

const docs = "/usr/share/doc/quell"

// readFiles collects what is shipped from the repository in dir.
func readFiles(dir, binary string) (list []file, err error) {
	add := func(from string, f file, edit ...string) {
		if err != nil {
			return
		}
		f.mode |= 0o644
		if f.rpm == "" {
			f.rpm = f.deb
		}
		if f.data, err = os.ReadFile(filepath.Join(dir, from)); err == nil && len(edit) > 0 {
			f.data, err = replace(f.data, edit[0], edit[1])
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", from, err)
			return
		}
		list = append(list, f)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	list = append(list, file{tarball: "quell", deb: "/usr/bin/quell", rpm: "/usr/bin/quell", mode: 0o755, data: program},
		file{deb: "/etc/quell", rpm: "/etc/quell", mode: fs.ModeDir | 0o750},
		file{tarball: "state", mode: fs.ModeDir | 0o700}) // for the Dockerfile
	add("internal/config/default.yaml", file{tarball: "quell.yaml", deb: "/etc/quell/quell.yaml", config: true},
		"\ndata_dir: data\n", "\ndata_dir: /var/lib/quell\n")
	add("deploy/Dockerfile", file{tarball: "Dockerfile"})
	// By hand quell is put in /usr/local/bin, by a package in /usr/bin.
	add("deploy/quell.service", file{tarball: "quell.service"})
	add("deploy/quell.service", file{deb: "/usr/lib/systemd/system/quell.service"}, "/usr/local/bin/", "/usr/bin/")
	add("deploy/package/sysusers.conf", file{tarball: "sysusers.conf", deb: "/usr/lib/sysusers.d/quell.conf"})
	add("deploy/package/tmpfiles.conf", file{tarball: "tmpfiles.conf", deb: "/usr/lib/tmpfiles.d/quell.conf"})
	add("deploy/haproxy.cfg", file{tarball: "haproxy.cfg", deb: docs + "/haproxy.cfg"})
	add("deploy/prometheus/rules.yaml", file{tarball: "prometheus/rules.yaml", deb: docs + "/prometheus/rules.yaml"})
	add("deploy/prometheus/rules_test.yaml", file{tarball: "prometheus/rules_test.yaml", deb: docs + "/prometheus/rules_test.yaml"})
	add("deploy/grafana/quell.json", file{tarball: "grafana/quell.json", deb: docs + "/grafana/quell.json"})
	add("deploy/quell.1", file{tarball: "quell.1", deb: "/usr/share/man/man1/quell.1.gz"})
	add("deploy/quell.bash", file{tarball: "completions/quell.bash", deb: "/usr/share/bash-completion/completions/quell"})
	add("deploy/quell.fish", file{tarball: "completions/quell.fish", deb: "/usr/share/fish/vendor_completions.d/quell.fish"})
	add("deploy/_quell", file{tarball: "completions/_quell", deb: "/usr/share/zsh/vendor-completions/_quell", rpm: "/usr/share/zsh/site-functions/_quell"})
	texts, _ := filepath.Glob(filepath.Join(dir, "docs", "*.md"))
	for _, text := range texts {
		name := path.Join("docs", filepath.Base(text))
		add(name, file{tarball: name, deb: path.Join(docs, name)})
	}
	for _, name := range []string{"README.md", "CHANGELOG.md", "SECURITY.md"} {
		add(name, file{tarball: name, deb: path.Join(docs, name)})
	}
	return list, err
}

// replace puts a new text in the place of an old one, which must occur.
func replace(data []byte, old, new string) ([]byte, error) {
	if !bytes.Contains(data, []byte(old)) {
		return nil, fmt.Errorf("does not have %q", old)
	}
	return bytes.ReplaceAll(data, []byte(old), []byte(new)), nil
}

// tarball writes those files that have a place in it, all below one folder. The
// same files and time give the same bytes.
func tarball(w io.Writer, folder string, list []file, at time.Time) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, f := range list {
		if f.tarball == "" {
			continue
		}
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: path.Join(folder, f.tarball), Mode: int64(f.mode.Perm()), Size: int64(len(f.data)),
			ModTime: at, Uname: "root", Gname: "root", Format: tar.FormatUSTAR,
		}
		if f.mode.IsDir() {
			h.Typeflag = tar.TypeDir
			h.Name += "/"
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(f.data); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return z.Close()
}

// compressed is what a package has of a file: manual pages are compressed there.
func (f *file) compressed() ([]byte, error) {
	if !strings.HasSuffix(f.deb, ".gz") {
		return f.data, nil
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(f.data); err != nil {
		return nil, err
	}
	err = z.Close()
	return b.Bytes(), err
}
