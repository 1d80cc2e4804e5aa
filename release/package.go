package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

// maintainer is in every package, since a .deb must have one.
//
// OWNER: fill in a name and an address.
const maintainer = "quell <address-to-be-filled-in@example.invalid>"

const description = `keeps false Power Outage Alerts of smart meters from going north
quell sits in the messaging motorway of Britain's smart metering. It watches
firmware activations go south, keeps the Power Outage Alerts that they cause
from going north for 30 minutes, logs each one, and delivers the log as files.`

// packages writes the .deb and the .rpm of one architecture into out.
func (r *release) packages(arch string, list []file, work, out string) error {
	for _, format := range []struct {
		nfpm.PackagerWithExtension
		depends string
		place   func(file) string
	}{
		{deb.Default, "systemd (>= 247)", func(f file) string { return f.deb }},
		{rpm.DefaultRPM, "systemd >= 247", func(f file) string { return f.rpm }},
	} {
		contents, err := stage(list, format.place, filepath.Join(work, arch+format.ConventionalExtension()))
		if err != nil {
			return err
		}
		script := func(name string) string { return filepath.Join(root, "deploy", "package", name) }
		info := nfpm.WithDefaults(&nfpm.Info{
			Name: "quell", Version: r.version, Arch: arch, MTime: r.time, DisableGlobbing: true,
			Maintainer: maintainer, Description: description, Section: "net",
			Overridables: nfpm.Overridables{
				Depends: []string{format.depends}, Recommends: []string{"ca-certificates"}, Contents: contents,
				Scripts: nfpm.Scripts{PostInstall: script("postinstall.sh"), PreRemove: script("preremove.sh"), PostRemove: script("postremove.sh")},
				Deb:     nfpm.Deb{Compression: "gzip:6"},
				RPM:     nfpm.RPM{Compression: "gzip:6", BuildHost: "localhost"}, // or it would be this machine
			},
		})
		var b bytes.Buffer
		if err := format.Package(info, &b); err != nil {
			return fmt.Errorf("%s: %w", format.ConventionalExtension(), err)
		}
		if err := os.WriteFile(filepath.Join(out, format.ConventionalFileName(info)), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// stage writes the files of a package into a folder, where nfpm takes them from.
func stage(list []file, place func(file) string, dir string) (contents files.Contents, err error) {
	for _, f := range list {
		at := place(f)
		if at == "" {
			continue
		}
		c := &files.Content{Destination: at, FileInfo: &files.ContentFileInfo{Mode: f.mode.Perm()}}
		contents = append(contents, c)
		if f.mode.IsDir() {
			c.Type = files.TypeDir
			continue
		}
		if f.config {
			c.Type = files.TypeConfigNoReplace
		}
		data, err := f.compressed()
		if err != nil {
			return nil, err
		}
		c.Source = filepath.Join(dir, at)
		if err := os.MkdirAll(filepath.Dir(c.Source), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(c.Source, data, 0o644); err != nil {
			return nil, err
		}
	}
	return contents, nil
}
