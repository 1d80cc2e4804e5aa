package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// sbom writes what a binary is made of, as CycloneDX: the modules that Go has
// written into the binary itself, and the standard library. It has the commit's
// time and no serial number, since that would be another for the same binary.
func (r *release) sbom(binary string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(program)
	self := cdx.Component{
		BOMRef: "quell", Type: cdx.ComponentTypeApplication, Name: "quell", Version: r.version,
		PackageURL: "pkg:generic/quell@" + r.version,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
	}
	properties := []cdx.Property{{Name: "git:commit", Value: r.commit}, {Name: "go:version", Value: info.GoVersion}}
	for _, s := range info.Settings {
		properties = append(properties, cdx.Property{Name: "go:" + s.Key, Value: s.Value})
	}
	self.Properties = &properties

	parts := []cdx.Component{library("stdlib", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		parts = append(parts, module(m))
	}
	uses := cdx.Dependency{Ref: self.BOMRef, Dependencies: &[]string{}}
	for _, p := range parts {
		*uses.Dependencies = append(*uses.Dependencies, p.BOMRef)
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Timestamp: r.time.Format(time.RFC3339), Component: &self}
	bom.Components = &parts
	bom.Dependencies = &[]cdx.Dependency{uses}
	var b bytes.Buffer
	if err := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return nil, fmt.Errorf("SBOM: %w", err)
	}
	return b.Bytes(), nil
}

// module is a module of Go. Its sum is the one of go.sum: over all of its files,
// so it is no hash of one file, as CycloneDX means it.
func module(m *debug.Module) cdx.Component {
	c := library(m.Path, m.Version)
	if m.Sum != "" {
		c.Properties = &[]cdx.Property{{Name: "go:sum", Value: m.Sum}}
	}
	return c
}

func library(name, version string) cdx.Component {
	url := "pkg:golang/" + name + "@" + strings.ReplaceAll(version, "+", "%2B")
	return cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: name, Version: version, PackageURL: url}
}
