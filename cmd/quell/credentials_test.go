package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"quell/internal/store/storetest"

	"github.com/rclone/rclone/fs/config"
)

// dropIn returns the settings of the unit in docs/operations.md that hand it its credentials.
func dropIn(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^    \[Service\]\n(?:    .*\n)*?    LoadCredentialEncrypted=(?:.*\n)(?:    .*\n)*`).FindString(string(text))
	if m == "" {
		t.Fatal("docs/operations.md has no credentials")
	}
	return strings.ReplaceAll(m, "\n    ", "\n")[4:]
}

// systemd accepts the unit with credentials as docs/operations.md sets them, and rates it as well
// as without.
func TestUnitCredentials(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze; on Debian it is in systemd")
	}
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "quell.service")
	for name, text := range map[string]string{file: replaced(t, deployed(t, "quell.service"), "/usr/local/bin/quell ", self+" "), filepath.Join(dir, "quell.service.d", "override.conf"): dropIn(t)} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", file).CombinedOutput(); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}

// With the variables of docs/operations.md, and credentials as systemd makes them, quell uses a
// database that asks for a password, and delivers by an rclone configuration that is encrypted.
// No other variable has a secret.
func TestCredentials(t *testing.T) {
	server := storetest.Start(t)
	s := secrets{}
	lockedDatabase(t, server, s.plant("database"))
	encrypted := &bytes.Buffer{}
	if err := config.SetConfigPassword(s.plant("rclone")); err != nil {
		t.Fatal(err)
	}
	esi := t.TempDir()
	err := config.Encrypt(strings.NewReader("[esi]\ntype = local\n"), encrypted)
	config.ClearConfigPassword()
	if err != nil {
		t.Fatal(err)
	}
	credentials := t.TempDir()
	for name, text := range map[string]string{"pgpass": "*:*:*:locked:" + s["database"] + "\n", "rclone": s["rclone"] + "\n"} {
		if err := os.WriteFile(filepath.Join(credentials, name), []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(credentials, 0o500); err != nil {
		t.Fatal(err)
	}
	var environ []string
	for _, m := range regexp.MustCompile(`(?m)^Environment="?([^"\n]*)"?$`).FindAllStringSubmatch(dropIn(t), -1) {
		environ = append(environ, strings.ReplaceAll(m[1], "%d", credentials))
	}
	if len(environ) != 2 {
		t.Fatalf("variables %q", environ)
	}
	hop := accept(t)
	i := install(t, hop, hop, "")
	i.write(string(read(t, i.config)) + fmt.Sprintf("store: %q\nstore_timeout: 5s\nreport:\n  every: 10000d\n  rclone_config: %s\n  remotes: [{name: esi, target: %q}]\n",
		"postgres:///quell?user=locked&host="+server.Dir+"&port="+server.Port, i.file("rclone.conf", encrypted.String()), "esi:"+esi))
	p := i.serve(environ...)
	s.command(t, append(environ, "QUELL_CONFIG="+i.config), "config", "check")
	s.command(t, append(environ, "QUELL_CONFIG="+i.config), "report", "cut")
	storetest.Eventually(t, "the report is at the remote", func() bool {
		files, err := filepath.Glob(filepath.Join(esi, "POAS_*.csv"))
		return err == nil && len(files) > 0
	})
	s.shown(t, p)
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	s.shownAtTheEnd(t, p, i, esi)
}

// lockedDatabase makes a database that the role "locked" owns, which needs a password.
func lockedDatabase(t *testing.T, server *storetest.Server, password string) {
	t.Helper()
	admin, err := sql.Open("pgx", server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	for _, query := range []string{
		"CREATE ROLE locked LOGIN PASSWORD '" + password + "'",
		"CREATE DATABASE quell OWNER locked",
		"COPY (VALUES ('local all locked scram-sha-256'), ('local all all trust')) TO '" + filepath.Join(server.Dir, "data", "pg_hba.conf") + "'",
		"SELECT pg_reload_conf()",
	} {
		if _, err := admin.Exec(query); err != nil {
			t.Fatal(err)
		}
	}
}
